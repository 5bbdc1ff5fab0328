"""The layouts, in the order in which they are asked."""

from alpha_callbacks.weights.stored_quantization.awq import Awq
from alpha_callbacks.weights.stored_quantization.bitnet import BitNet
from alpha_callbacks.weights.stored_quantization.bitsandbytes_4bit import BitsAndBytes4bit
from alpha_callbacks.weights.stored_quantization.bitsandbytes_int8 import BitsAndBytesInt8
from alpha_callbacks.weights.stored_quantization.by_name import ByName
from alpha_callbacks.weights.stored_quantization.compressed_tensors import CompressedTensors
from alpha_callbacks.weights.stored_quantization.fp4 import Mxfp4, Nvfp4
from alpha_callbacks.weights.stored_quantization.fp8 import Fp8
from alpha_callbacks.weights.stored_quantization.gptq import Gptq
from alpha_callbacks.weights.stored_quantization.hqq import Hqq
from alpha_callbacks.weights.stored_quantization.layout import Layout
from alpha_callbacks.weights.stored_quantization.mlx import Mlx
from alpha_callbacks.weights.stored_quantization.quanto import Quanto
from alpha_callbacks.weights.stored_quantization.torchao import TorchAo

LAYOUTS: tuple[Layout, ...] = (
    CompressedTensors(),
    Fp8(),
    Mxfp4(),
    Nvfp4(),
    Gptq(),
    Awq(),
    BitsAndBytes4bit(),
    BitsAndBytesInt8(),
    TorchAo(),
    Mlx(),
    Quanto(),
    Hqq(),
    BitNet(),
    ByName(),
)
