"""Which layers of two tables are the same matrix."""

from dataclasses import replace

import pytest

from alpha_callbacks.comparison.comparison import compare
from alpha_callbacks.comparison.partners import partners
from alpha_callbacks.tables.table import Row, Table
from tests.support.rows import row


def rows(*names: str, size: int = 64) -> dict[str, Row | None]:
    return {name: row(name, "fp32", 3.0, out_features=size) for name in names}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("model.layers.0.mlp.experts.1.gate_up_proj.up", "model.layers.0.block_sparse_moe.experts.1.w3"),
        ("model.language_model.layers.0.mlp.up_proj", "language_model.model.layers.0.mlp.up_proj"),
        ("_forward_module.layers.0.mlp.up_proj", "layers.0.mlp.up_proj"),
        ("embed_out", "lm_head"),
    ],
)
def test_other_spellings(ours: str, theirs: str) -> None:
    same = "model.layers.1.self_attn.q_proj"
    assert partners(rows(ours, same), rows(theirs, same)) == {ours: theirs, same: same}
    assert partners(rows(ours, same), rows(same) | rows(theirs, size=65)) == {same: same}  # another shape


def test_a_spelling_that_two_layers_have_tells_nothing() -> None:
    ours = rows("model.layers.0.mlp.up_proj", "layers.1.mlp.up_proj")
    theirs = rows("language_model.layers.0.mlp.up_proj", "text_model.layers.0.mlp.up_proj", "layers.1.mlp.up_proj")
    assert partners(ours, theirs) == {"layers.1.mlp.up_proj": "layers.1.mlp.up_proj"}


def test_results_of_an_earlier_version_have_the_names_of_their_source() -> None:
    old = row("layers.0.experts.2.w13.gate", "fp32", 3.0)
    new = replace(row("layers.0.experts.2.gate_proj", "fp32", 3.0), source_name="layers.0.experts.2.w13.gate")
    (pair,) = compare(Table.from_rows([old], ("fp32",)), Table.from_rows([new], ("fp32",))).pairs
    assert pair.ok and pair.delta == 0
