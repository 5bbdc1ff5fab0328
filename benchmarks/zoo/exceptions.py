"""Architectures whose files list other rows than their live models, and why."""

from collections.abc import Mapping

EXCEPTIONS: Mapping[str, str] = {
    "olmo_hybrid": "transformers writes thirds of one convolution over q, k and v, which are not of equal size",
}
