"""Malformed files, whole, each with the command that is given it. Some are large."""

from tests.fuzz.malformed.archives import archives, gguf
from tests.fuzz.malformed.case import Case
from tests.fuzz.malformed.model_files import configs, indexes, safetensors
from tests.fuzz.malformed.special import distributed, special_files
from tests.fuzz.malformed.written import journals, results


def all_cases() -> list[Case]:
    """Return every case; their names are unique."""
    kinds = (safetensors, indexes, configs, archives, gguf, special_files, distributed, results, journals)
    return [case for kind in kinds for case in kind()]
