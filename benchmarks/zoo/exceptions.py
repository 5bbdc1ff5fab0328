"""Architectures whose files list other rows than their live models, and why."""

from collections.abc import Mapping

EXCEPTIONS: Mapping[str, str] = {}
