"""Architectures whose files list other rows than their live models, and why."""

from collections.abc import Mapping

EXCEPTIONS: Mapping[str, str] = {
    "olmo_hybrid": "128 channels of three kernels are saved as 43, 43 and 42; the live kernel stays whole",
    "shieldgemma2": "a tied head, which the file lacks, has in this class a name that a scan does not know",
}
