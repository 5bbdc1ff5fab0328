"""A results folder made by hand that has something of everything."""

import csv
import json
import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from alpha_callbacks.planning.plan import Choice, Plan
from alpha_callbacks.planning.plan_json import write_plan
from alpha_callbacks.tables.table import Row, Table
from benchmarks.report import PRECISIONS, made_up
from tests.support.pages import NASTY
from tests.support.rows import row

EXPERTS = tuple(f"model.layers.1.mlp.experts.{i}.up_proj" for i in range(12))
LOST = "model.layers.2.mlp.up_proj"
SHARED = "model.layers.0.mlp.down_proj"


def example(folder: Path) -> Table:
    """Return a table of 3 blocks with curves, experts, a nasty name, lost rows; and write what lies beside it."""
    table, files = _example()
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    return table


@cache
def _example() -> tuple[Table, dict[str, bytes]]:
    with TemporaryDirectory() as folder:
        table = _made(Path(folder))
        paths = [path for path in Path(folder).rglob("*") if path.is_file()]
        return table, {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def _made(folder: Path) -> Table:
    made = made_up(folder, blocks=3, shrink=32)
    shared = next(one.alpha for one in made if (one.layer_name, one.precision) == (SHARED, "fp32"))
    rows = [_changed(one, shared) for one in made]
    for i, name in enumerate((*EXPERTS, NASTY, "../../x")):
        rows += [row(name, precision, 2.0 + i / 7 + j / 100, reason="") for j, precision in enumerate(PRECISIONS)]
    lines = [("a.weight", "analysed", "", "4x4"), (NASTY, "skipped", f"1-D, {NASTY}", "4")]
    _write(folder / "coverage.csv", ("name", "outcome", "reason", "shape"), lines)
    advice = [(name, "int4_g32", "4.5", "0.4", "0.1", NASTY, "128", "128") for name in (LOST, NASTY)]
    columns = ("layer_name", "precision", "effective_bits", "alpha_ratio", "relative_error", "reason")
    _write(folder / "recommendations.csv", (*columns, "out_features", "in_features"), advice)
    choices = tuple(Choice(name, "other", 128, 128, "int4_g32") for name in (LOST, NASTY))
    write_plan(Plan(choices, "alphaq", {"budget": 4.5, "note": NASTY}), folder / "plan.json")
    run = {"source": "org/model-8B", "command": f"alpha-hill scan '{NASTY}'", "options": {"k_frac": 0.1}}
    (folder / "run.json").write_text(json.dumps({**run, "versions": {"torch": NASTY}, "peak_memory_bytes": 2**30}))
    return Table.from_rows(rows, PRECISIONS, "tiny & <b>model</b>")


def _changed(one: Row, shared: float) -> Row:
    if one.layer_name == LOST and one.precision == "nf4":
        nan = math.nan
        return replace(one, status="non_finite", reason=f"3 weights overflow {NASTY}", alpha=nan, x_min=nan, stderr=nan)
    if one.layer_name == SHARED and one.precision == "bf16":
        return replace(one, method="bounded", alpha=shared, alpha_error_bound=1.21e-9)
    return one


def _write(path: Path, columns: tuple[str, ...], lines: list[tuple[str, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([columns, *lines])
