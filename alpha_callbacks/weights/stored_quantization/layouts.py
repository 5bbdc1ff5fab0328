"""The layouts, in the order in which they are asked."""

from alpha_callbacks.weights.stored_quantization.fp8 import Fp8
from alpha_callbacks.weights.stored_quantization.layout import Layout

LAYOUTS: tuple[Layout, ...] = (Fp8(),)
