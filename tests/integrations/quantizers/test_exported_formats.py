"""Every format through every exporter, held to a table. Run as a module, this file writes the table again."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from alpha_callbacks.errors import PlanError
from alpha_callbacks.planning.export_plan import export_plan, targets
from tests.support.plan_examples import plan_of

TABLE = Path(__file__).parents[2] / "golden" / "exported_formats.txt"
SCOPES = ("", ":channel", ":tensor", ":g64")
FORMATS = (
    *(f"int{bits}{options}" for bits in (2, 3, 4, 6, 8) for options in (*SCOPES, ":asym")),
    "int4:channel:asym",
    "int4:g64:asym",
    *(f"{name}{scope}" for name in ("fp8_e4m3", "fp8_e5m2", "fp4") for scope in (*SCOPES, ":none", ":block128")),
    *(
        f"{name}:{rule}"
        for name in ("mxfp8_e4m3", "mxfp8_e5m2", "mxfp6_e2m3", "mxfp6_e3m2", "mxfp4")
        for rule in ("floor", "even", "rceil")
    ),
    *("nf4", "nf4:b128", "nvfp4"),
    *(f"gguf:{kind}" for kind in ("q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "mxfp4", "tq2_0", "tq1_0")),
)


def _lines(target: str) -> Iterator[str]:
    """Yield a line per format that a target holds: target, format, and the export without its white space."""
    name = "blk.0.ffn_up" if target == "gguf" else "fc"
    for format_ in FORMATS:
        try:
            text = export_plan(plan_of({name: format_}, rows=256, columns=256), target).text
        except PlanError:
            continue
        if target == "llm-compressor":
            text = " ".join(text.split())
        elif target != "gguf":
            assert text == json.dumps(json.loads(text), indent=1) + "\n"
            text = json.dumps(json.loads(text), separators=(",", ":"))
        else:
            text = text.splitlines()[0]
        yield f"{target} {format_} {text}"


@pytest.mark.parametrize("target", sorted(set(targets()) - {"plan"}))
def test_exports_are_those_of_the_table(target: str) -> None:
    pytest.importorskip("gguf")
    expected = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line.startswith(f"{target} ")]
    assert list(_lines(target)) == expected and expected


if __name__ == "__main__":
    found = [line for target in targets() if target != "plan" for line in _lines(target)]
    TABLE.write_text("\n".join(found) + "\n", encoding="utf-8")
