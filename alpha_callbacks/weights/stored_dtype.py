"""What the text in `stored_dtype` says of a weight: how its source holds it, and what became of it since."""

import re

CAST = " cast to "  # between what the source holds and what was analysed
ADDED = " + "  # between the base and the method of the adapter whose update was added

_WHOLE = {"", "float64", "float32", "float16", "bfloat16", "F64", "F32", "F16", "BF16"}  # "": nobody said


def is_quantized(stored_dtype: str) -> bool:
    """Return True for weights that the source holds in fewer than 16 bits, whatever they were cast to since.

    Examples:
        >>> is_quantized("Q4_K"), is_quantized("bfloat16 cast to float32")
        (True, False)
    """
    return re.split(rf"{CAST}| [+-] ", stored_dtype)[0] not in _WHOLE
