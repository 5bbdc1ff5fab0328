"""The fields of a low-bit format, as quantizers ask for them. Nothing takes a precision's name apart to find them."""

from dataclasses import dataclass
from typing import Literal

Sharing = Literal["none", "tensor", "channel", "group", "tile"]
Scale = Literal["none", "real", "fp32", "floor", "even", "rceil", "e4m3", "ggml"]


@dataclass(frozen=True)
class Encoding:
    """How a low-bit format writes a weight: as a code, times a scale that several weights share.

    The family that makes a precision fills this in; exporters and writers of quantized checkpoints read it. No two
    formats have the same encoding.

    Attributes:
        element: what the code is: "int", a float of a few bits ("e4m3", "e5m2", "e3m2", "e2m3", "e2m1"), "nf4", or a
            type of ggml ("q4_0", ...).
        bits: of one code, rounded up.
        sharing: which weights share a scale: none (there is no scale), the tensor, each row ("channel"), groups along
            a row, square tiles.
        size: weights in a group, or the side of a tile; 0 for all others.
        symmetric: True if there is no zero point.
        scale: what the scale is: "none", a float of 16 bits or more ("real"), a float32 absmax ("fp32"), a power of two
            chosen by one of the rules of MX ("floor", "even", "rceil"), an e4m3 number under a float32 scale of the
            tensor ("e4m3"), or part of a ggml block ("ggml").
    """

    element: str
    bits: int
    sharing: Sharing
    size: int = 0
    symmetric: bool = True
    scale: Scale = "real"
