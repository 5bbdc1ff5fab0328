"""A canonical precision name taken apart again, for tools that want its parts."""

import re
from dataclasses import dataclass
from typing import Literal, cast

Sharing = Literal["", "none", "tensor", "channel", "group", "tile"]

_SCALED = re.compile(r"(int\d+|fp8_e4m3|fp8_e5m2|fp4)(?:_(none|tensor|channel|g(\d+)|block(\d+)))?(_asym)?")


@dataclass(frozen=True)
class Words:
    """The parts of a name.

    Attributes:
        base: element type ("int4", "fp8_e4m3"), or the whole name of a format without such options ("mxfp4", "nf4").
        sharing: which weights share a scale; "" where the format leaves no choice.
        size: weights in a group, or side of a tile; else 0.
        asymmetric: there is a zero point.
    """

    base: str
    sharing: Sharing = ""
    size: int = 0
    asymmetric: bool = False

    @property
    def bits(self) -> int:
        """Return b of an element type int<b>, else 0."""
        return int(self.base.removeprefix("int")) if self.base.startswith("int") else 0


def words_of(precision: str) -> Words:
    """Take a canonical name apart.

    Examples:
        >>> words_of("int4_g32_asym")
        Words(base='int4', sharing='group', size=32, asymmetric=True)
        >>> words_of("fp8_e4m3").sharing, words_of("mxfp4").sharing
        ('channel', '')
    """
    match = _SCALED.fullmatch(precision)
    if match is None:
        return Words(precision)
    base, option, group, tile, asymmetric = match.groups()
    if group or tile:
        return Words(base, "group" if group else "tile", int(group or tile), bool(asymmetric))
    return Words(base, cast(Sharing, option or "channel"), asymmetric=bool(asymmetric))
