import ast
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alpha_callbacks.precisions.encoding import Encoding
from alpha_callbacks.precisions.registry import all_precisions, get_precision

ENCODINGS = {
    "fp8": Encoding("e4m3", 8, "channel"),
    "fp8:block128": Encoding("e4m3", 8, "tile", 128),
    "fp8:none": Encoding("e4m3", 8, "none", scale="none"),
    "e5m2:tensor": Encoding("e5m2", 8, "tensor"),
    "int8": Encoding("int", 8, "channel"),
    "int4:g128:asym": Encoding("int", 4, "group", 128, symmetric=False),
    "mxfp8_e5m2": Encoding("e5m2", 8, "group", 32, scale="rceil"),
    "mxfp6": Encoding("e2m3", 6, "group", 32, scale="even"),
    "mxfp4:floor": Encoding("e2m1", 4, "group", 32, scale="floor"),
    "nvfp4": Encoding("e2m1", 4, "group", 16, scale="e4m3"),
    "nf4:b128": Encoding("nf4", 4, "group", 128, scale="fp32"),
    "fp4": Encoding("e2m1", 4, "group", 32),
}


@pytest.mark.parametrize(("name", "encoding"), ENCODINGS.items())
def test_fields(name: str, encoding: Encoding) -> None:
    assert get_precision(name).encoding == encoding


def _some_names() -> st.SearchStrategy[str]:
    """Draw names with options, each of which some family takes."""
    size = st.integers(1, 4096)
    grouped = st.one_of(size.map("g{}".format), st.just("channel"))
    integer = st.tuples(
        st.sampled_from(("int2", "int3", "int4", "int6", "int8")), grouped, st.sampled_from(("", "asym"))
    )
    scope = st.one_of(grouped, st.sampled_from(("tensor", "none", "block128")))
    scaled = st.tuples(st.sampled_from(("fp8_e4m3", "fp8_e5m2", "fp4")), scope)
    mx = st.tuples(
        st.sampled_from(("mxfp8_e4m3", "mxfp8_e5m2", "mxfp6_e2m3", "mxfp6_e3m2", "mxfp4")),
        st.sampled_from(("floor", "even", "rceil")),
    )
    nf4 = st.tuples(st.just("nf4"), size.map("b{}".format))
    return st.one_of(integer, scaled, mx, nf4).map(lambda parts: ":".join(part for part in parts if part))


@given(_some_names(), _some_names())
def test_formats_have_the_same_name_if_and_only_if_they_have_the_same_encoding(one: str, other: str) -> None:
    a, b = get_precision(one), get_precision(other)
    assert (a.name == b.name) == (a.encoding == b.encoding)
    assert get_precision(a.name).encoding == a.encoding  # the canonical name leads back to the fields


@given(_some_names())
def test_bits_and_blocks_are_those_of_the_encoding(name: str) -> None:
    precision = get_precision(name)
    encoding, storage = precision.encoding, precision.storage
    assert encoding is not None and storage is not None
    assert precision.bits == storage.code == encoding.bits
    assert (storage.block or 0) == encoding.size
    assert precision.row_multiple == storage.rows == (encoding.size if encoding.sharing == "tile" else 1)


@given(_some_names())
def test_what_shares_a_scale_is_what_the_encoding_says(name: str) -> None:
    """A weight that grows moves only weights that share its scale; the oracles hold the values themselves."""
    precision = get_precision(name)
    encoding = precision.encoding
    assert encoding is not None
    matrix = torch.randn(4, 96, generator=torch.Generator().manual_seed(0)).clamp(-4, 4)
    grown = matrix.clone()
    grown[1, 40] = 5.7
    before, after = (precision.round_trip(m, float(m.abs().max())) for m in (matrix, grown))
    moved = before.double() != after.double()
    moved[1, 40] = False
    rows, columns = torch.nonzero(moved, as_tuple=True)
    if encoding.sharing == "none":
        assert not moved.any()
    if encoding.sharing in ("channel", "group"):
        assert set(rows.tolist()) <= {1}
    if encoding.sharing == "group":
        assert {column // encoding.size for column in columns.tolist()} <= {40 // encoding.size}


def test_every_low_bit_format_has_one_and_no_other_has() -> None:
    for precision, _ in all_precisions():
        assert (precision.encoding is not None) == precision.low_bit


ROOT = Path(__file__).parents[2]
PARSERS = ("precisions/families.py", "precisions/registry.py")  # they read what a user typed
TAKES_APART = {
    "startswith", "endswith", "removeprefix", "removesuffix", "split", "rsplit", "partition", "rpartition", "match",
    "fullmatch", "search", "sub", "findall",
}  # fmt: skip


def _taken_apart(source: str) -> list[str]:
    """Return the calls in a source that take the name of a precision apart."""
    found = []
    for call in ast.walk(ast.parse(source)):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in TAKES_APART:
            for part in (call.func.value, *call.args):
                words = ast.unparse(part).removesuffix(".name").split(".")
                if words[-1] in ("precision", "candidate", "choice") and isinstance(part, ast.Name | ast.Attribute):
                    found.append(ast.unparse(call))
    return found


def test_nothing_takes_the_name_of_a_precision_apart() -> None:
    files = [*ROOT.glob("alpha_callbacks/**/*.py"), *ROOT.glob("integrations/**/*.py")]
    assert len(files) > 100
    found = {
        str(file): calls
        for file in files
        if not file.as_posix().endswith(PARSERS) and (calls := _taken_apart(file.read_text(encoding="utf-8")))
    }
    assert found == {}


@pytest.mark.parametrize(
    "source",
    [
        "re.fullmatch(pattern, precision)",
        "choice.precision.startswith('int')",
        "precision.name.split('_')",
        "[row.precision.removeprefix('gguf_') for row in rows]",
        "pattern.match(row.precision)",
    ],
)
def test_that_search_finds_what_it_looks_for(source: str) -> None:
    assert len(_taken_apart(source)) == 1
