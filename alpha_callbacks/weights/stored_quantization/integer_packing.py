"""How a checkpoint of GPTQ, AWQ or AutoRound packs its integer codes, according to its config."""

from alpha_callbacks.weights.stored_quantization.layout import Description

_AUTO_ROUND = ("auto-round", "intel/auto-round", "auto_round")
# What AutoRound calls its packing -> whose packing it is.
_AUTO_ROUND_PACKING = {"auto_gptq": "gptq", "gptq": "gptq", "auto_awq": "awq", "awq": "awq"}


def integer_packing(about: Description) -> str:
    """Return "gptq" (zero points stored minus one), "gptq_v2", "awq" (gemm), another name that the config gives, or "".

    Args:
        about: the model's own words. Without a config the meaning of the zero points is unknown, so the answer is "".
    """
    quantization, method = about.quantization, about.method.lower()
    form = str(quantization.get("checkpoint_format") or quantization.get("format") or "").lower()
    if method == "gptq":
        if quantization.get("is_marlin_format") is True:
            return "marlin"
        return form or "gptq"
    if method == "awq":
        version = str(quantization.get("version") or form or "gemm").lower()
        return "awq" if version == "gemm" else f"awq {version}"
    if method in _AUTO_ROUND:
        packing = str(quantization.get("packing_format") or quantization.get("backend") or "").lower()
        return _AUTO_ROUND_PACKING.get(packing.rpartition(":")[2], packing)
    return ""
