"""Methods whose codes are recognised and not decoded: one matrix each, refused with the name of the method.

Their codebooks, indices, signs and low-rank parts are never matrices of their own. A method is told by the names of its
tensors, so that a file without config is named too.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from alpha_callbacks.weights.stored_quantization.companions import by_module
from alpha_callbacks.weights.stored_quantization.integer_packing import integer_packing
from alpha_callbacks.weights.stored_quantization.layout import Claim, Description, Summary
from alpha_callbacks.weights.stored_tensor import StoredTensor

_ROLES = {
    "scales": "scales",
    "qzeros": "zero points",
    "zeros": "zero points",
    "g_idx": "group indices",
    "weight_scale": "scale",
}
_KEPT = ("bias",)  # read like any other


@dataclass(frozen=True)
class _Method:
    """What the tensors of a method are called.

    Attributes:
        name: for a reader.
        codes: the tensor that stands for the matrix.
        beside: tensors of the same module that must be there.
        integer: the codes are integers.
    """

    name: str
    codes: str
    beside: tuple[str, ...]
    integer: bool = True


# In the order in which they are asked: those with more characteristic tensors first.
_METHODS = (
    _Method("AQLM", "codes", ("codebooks",)),
    _Method("EXL2", "q_weight", ("q_scale",)),
    _Method("QTIP", "trellis", ("SU",)),
    _Method("EXL3", "trellis", ()),
    _Method("QuIP#", "Qidxs", ()),
    _Method("QuIP#", "Qidxs_0", ()),
    _Method("VPTQ", "indices", ("centroids.weight",)),
    _Method("VPTQ", "indices", ("weight_scale",)),
    _Method("SpQR", "dense_weights", ("row_offsets",)),
    _Method("SVDQuant", "qweight", ("wscales",)),
    _Method("FP-Quant", "qweight", ("forward_hadamard_matrix",)),
    _Method("SqueezeLLM", "qweight", ("lookup_table",)),
    _Method("OWQ", "qweight", ("oweight",)),
    _Method("HIGGS", "weight", ("tables", "scales")),
    _Method("Marlin (GPTQ or AWQ, repacked)", "B", ("s",)),
    _Method("Marlin (GPTQ or AWQ, repacked)", "qweight", ("s", "workspace")),
    _Method("EETQ", "weight", ("weight_scales",)),
    _Method("SINQ", "W_q", ("scale2",)),
    _Method("HQQ", "W_q", ()),
    _Method("bitsandbytes", "weight", ("absmax",)),
    _Method("optimum-quanto", "weight._data", ("weight._scale",)),
)
_INTEGER_NAMES = {"gptq": "GPTQ", "gptq_v2": "GPTQ", "marlin": "GPTQ for Marlin"}


class ByName:
    """The layout; see the module."""

    name = "refused by name"
    summary = Summary(
        decoded="nothing: one `unsupported` row per matrix names the method",
        names="AQLM, EXL2, EXL3, QuIP#, QTIP, VPTQ, SpQR, SVDQuant, FP-Quant, SqueezeLLM, OWQ, HIGGS, Marlin, EETQ, "
        "SINQ, by the names of their tensors",
        live="modules that hold the same tensors",
        refused="also packed integers (`qweight`, `W_q`) in a form that no other layout reads",
    )

    def recognise(self, tensors: Mapping[str, StoredTensor], about: Description) -> Iterator[Claim]:
        """Yield every module that holds codes of such a method, with all its tensors but the bias."""
        modules = by_module(tensors.values())
        for module, names in modules.items():
            found = _found(module, tensors)
            if found is None or (found is _PACKED and not integer_packing(about)):
                continue  # integers that nobody names are refused by `mark`, with what lies beside them
            codes = tensors[_join(module, found.codes)]
            if not (codes.dtype is None or codes.dtype.itemsize < 2):
                continue
            inner = [name for part in ("centroids", "res_centroids") for name in modules.get(_join(module, part), [])]
            rest = [tensors[name] for name in (*names, *inner) if name != codes.name]
            parts = {part.name.removeprefix(f"{module}."): part for part in rest}
            kept = {name: part for name, part in parts.items() if name not in _KEPT}
            whose = f"a part of the {found.name} codes"
            yield Claim(codes, {_ROLES.get(name, f"{name!r}, {whose}"): part for name, part in kept.items()})

    def decode(self, claim: Claim, about: Description) -> StoredTensor:
        """Return the codes under the name of the matrix, refused."""
        module, _, last = claim.codes.name.rpartition(".")
        companions = {part.name.removeprefix(f"{module}.") for part in claim.companions.values()}
        method = next(m for m in _METHODS_AND_PACKED if m.codes == last and companions.issuperset(m.beside))
        name = _name_of_packed(about) if method is _PACKED else method.name
        return replace(
            claim.codes,
            name=_join(module, "weight"),
            packed=claim.codes.packed
            or f"quantized: stored as {name} codes, which cannot be decoded here. Dequantize the model first.",
            kind="unknown",
        )


_PACKED = _Method("packed integer", "qweight", ())
_METHODS_AND_PACKED = (*_METHODS, _PACKED)


def _found(module: str, tensors: Mapping[str, StoredTensor]) -> _Method | None:
    for method in _METHODS_AND_PACKED:
        if all(_join(module, part) in tensors for part in (method.codes, *method.beside)):
            return method
    return None


def _name_of_packed(about: Description) -> str:
    packing = integer_packing(about)
    return _INTEGER_NAMES.get(packing, re.sub(r"[^\w .:-]", "", packing)[:40].replace("awq", "AWQ"))


def _join(module: str, part: str) -> str:
    return f"{module}.{part}" if module else part
