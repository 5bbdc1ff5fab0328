"""The layouts, in the order in which they are asked."""

from alpha_callbacks.weights.stored_quantization.compressed_tensors import CompressedTensors
from alpha_callbacks.weights.stored_quantization.fp4 import Mxfp4, Nvfp4
from alpha_callbacks.weights.stored_quantization.fp8 import Fp8
from alpha_callbacks.weights.stored_quantization.layout import Layout

LAYOUTS: tuple[Layout, ...] = (CompressedTensors(), Fp8(), Mxfp4(), Nvfp4())
