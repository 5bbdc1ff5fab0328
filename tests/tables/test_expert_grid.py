from alpha_callbacks.tables.expert_grid import expert_grid
from alpha_callbacks.tables.table import Row, Table


def table(*names: str) -> Table:
    rows = [
        Row(name, "moe_expert_up", int(name.split(".")[2]), 9, 9, "", "", "fp32", "ok", alpha=2.0) for name in names
    ]
    return Table.from_rows(rows, ("fp32",))


def test_a_row_for_each_block_and_a_column_for_each_expert() -> None:
    found = expert_grid(table(*(f"model.layers.{b}.mlp.experts.{e}.up_proj" for b in (1, 3) for e in range(6))).layers)
    assert found.rows == ("1", "3") and found.columns == 6 and found
    assert found.places["moe_expert_up"][1, 4].first.layer_name == "model.layers.3.mlp.experts.4.up_proj"


def test_blocks_of_encoder_and_decoder_are_not_mixed() -> None:
    names = [f"{side}.layers.0.ffn.experts.{e}.fc1" for side in ("encoder", "decoder") for e in range(5)]
    found = expert_grid(table(*names).layers)
    assert found.rows == ("encoder.layers.0", "decoder.layers.0")
    assert len(found.places["moe_expert_up"]) == 10


def test_few_experts_and_other_layers_need_no_grid() -> None:
    assert not expert_grid(table(*(f"model.layers.0.mlp.experts.{e}.up_proj" for e in range(4))).layers)
    assert not expert_grid(table("model.layers.0.mlp.up_proj").layers)
