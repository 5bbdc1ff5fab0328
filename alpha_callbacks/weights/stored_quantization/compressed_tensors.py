"""compressed-tensors, as llm-compressor, vLLM and `alpha-hill quantize` use it: a scheme per group of modules."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from alpha_callbacks.utils.name_patterns import PatternError
from alpha_callbacks.weights.stored_quantization.companions import by_module, is_unrelated
from alpha_callbacks.weights.stored_quantization.compressed_tensors_config import is_ignored, schemes_of
from alpha_callbacks.weights.stored_quantization.compressed_tensors_formats import NUMBERS, UnclearError, matrix_of
from alpha_callbacks.weights.stored_quantization.layout import Claim, Description, Summary
from alpha_callbacks.weights.stored_quantization.scaled import Scaled, decoded
from alpha_callbacks.weights.stored_tensor import StoredTensor

_ROLES = {
    "weight_scale": "scales",
    "weight_zero_point": "zero points",
    "weight_global_scale": "scale of the scales",
    "weight_shape": "shape",
    "weight_g_idx": "indices",
}
_SPARSE = {"compressed": "a sparse format (bitmask)", "meta": "marlin-24"}  # tensors by which they are recognised


class CompressedTensors:
    """The layout; see the module."""

    name = "compressed-tensors"
    summary = Summary(
        decoded="`naive-`, `int-` and `float-quantized`; `pack-quantized` of 1 to 8 bits with zero points and `g_idx`; "
        "`nvfp4-`, `mxfp4-`, `mxfp6-pack-quantized`, `mxfp8-quantized`; each module by its group of the config",
        names="`weight` or `weight_packed` with `weight_scale` and, as the scheme has them, `weight_zero_point`, "
        "`weight_global_scale`, `weight_shape`, `weight_g_idx`",
        live="compressed modules of the library",
        refused="a config that contradicts the tensors, `sparse-24-bitmask`, `marlin-24`: “compressed-tensors, …”",
    )

    def recognise(self, tensors: Mapping[str, StoredTensor], about: Description) -> Iterator[Claim]:
        """Yield every module that the library has stored, also those that cannot be decoded."""
        if about.method not in ("", "compressed-tensors"):
            return
        for names in by_module(tensors.values()).values():
            own = {name.rpartition(".")[2]: tensors[name] for name in names}
            codes = own.get("weight_packed") or own.get("compressed") or own.get("weight")
            scaled = about.method and "weight_scale" in own and codes is not None and codes.stored_dtype in NUMBERS
            if codes is None or codes is own.get("weight") and not scaled:
                continue
            if codes is own.get("compressed") and "bitmask" not in own:
                continue
            beside = {last: own[last] for last in own if own[last] is not codes and not is_unrelated(last)}
            yield Claim(codes, {_ROLES.get(last, last): tensor for last, tensor in beside.items()})

    def decode(self, claim: Claim, about: Description) -> StoredTensor:
        """Return (codes - zero points) * scales, rounded to the type of the scales, as the library returns it.

        FP4 and FP6 are rounded to bfloat16, to which the library unpacks them.
        """
        codes, module = claim.codes, claim.codes.name.rpartition(".")[0].removesuffix(".weight")
        name = f"{module}.weight".lstrip(".")
        try:
            matrix, words = _matrix(claim, module, about)
        except UnclearError as error:
            reason = f"quantized: compressed-tensors, {error}. Dequantize the checkpoint first."
            return replace(codes, name=name, dtype=None, packed=reason)
        label = f"{words} (compressed-tensors, scale per {matrix.blocks.words})"
        return decoded(codes, matrix, name=name, stored_dtype=label)


def _matrix(claim: Claim, module: str, about: Description) -> tuple[Scaled, str]:
    """Return how a matrix is decoded, and what its codes are.

    Raises:
        UnclearError: it is not decoded; the text says why.
    """
    beside = claim.companions
    for part in (claim.codes.name.rpartition(".")[2], *beside):
        if part in _SPARSE:
            raise UnclearError(_SPARSE[part])
    if foreign := sorted(set(beside) - set(_ROLES.values())):
        raise UnclearError(f"with {foreign[0]} beside the codes")
    if "scales" not in beside:
        raise UnclearError("codes whose scales are not in the files read")
    if len(claim.codes.shape) != 2 or not all(tensor.readable for tensor in (claim.codes, *beside.values())):
        raise UnclearError("codes that are not a matrix which can be read")
    if not about.quantization.get("config_groups"):
        return matrix_of(claim.codes, beside, None)
    try:
        schemes = list(schemes_of(module, about.quantization))
        ignored = is_ignored(module, about.quantization)
    except PatternError as error:
        raise UnclearError(f"with {error} in its quantization_config") from error
    if not schemes or ignored:
        raise UnclearError("although its quantization_config has no group for this module")
    unclear = UnclearError("a scheme that is not known")
    for scheme in schemes:  # several where the class of the module decides, which is not known here
        try:
            if scheme is not None:
                return matrix_of(claim.codes, beside, scheme)
        except UnclearError as error:
            unclear = error
    raise unclear
