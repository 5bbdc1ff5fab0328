"""Adapters under the names that other projects give them, tuned checkpoints beside their base, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from safetensors.torch import save_file as save_distinct
from torch import Tensor

from alpha_callbacks import AnalysisOptions, Plots, compare, recommend, scan
from alpha_callbacks.analysis.analyze import analyze_with_spectra
from alpha_callbacks.checkpoints.open_base import open_base
from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.errors import CheckpointError, PlanError
from alpha_callbacks.estimators.hill import hill_alpha
from alpha_callbacks.weights.weight import Weight

UPDATE = " (update)"
Q = "layers.0.self_attn.q_proj"
OPTIONS = AnalysisOptions(precisions=("fp64",))


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


A, B, W = randn(4, 24, seed=1), randn(32, 4, seed=2), randn(32, 24, seed=3)


def save_file(tensors: dict[str, Tensor], file: Path, metadata: dict[str, str] | None = None) -> None:
    save_distinct({name: tensor.clone() for name, tensor in tensors.items()}, file, metadata)


def found(
    tensors: dict[str, Tensor], folder: Path, base: dict[str, Tensor] | None = None, **config: Any
) -> list[Weight]:
    """Return the weights of an adapter, saved with a config if there is one, beside a base if there is one."""
    save_file(tensors, folder / "adapter_model.safetensors")
    if config:
        (folder / "adapter_config.json").write_text(json.dumps(config))
    below = None
    if base is not None:
        save_file(base, folder.with_suffix(".safetensors"))
        below = open_checkpoint(folder.with_suffix(".safetensors"))
    adapter = open_checkpoint(folder / "adapter_model.safetensors")
    return (adapter.inventory_with_base(below, OPTIONS) if below else adapter.inventory(OPTIONS)).weights


def matrix(weight: Weight) -> Tensor:
    assert not weight.unsupported
    return torch.cat([weight.rows(0, 3), weight.rows(3, weight.out_features)])


def two(a: str, b: str, **more: Tensor) -> dict[str, Tensor]:
    return {a: A, b: B, **more}


KOHYA = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
UNET = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
SPELLINGS: dict[str, tuple[dict[str, Tensor], dict[str, Any], str, float]] = {
    "PEFT": (
        two(f"base_model.model.{Q}.lora_A.weight", f"base_model.model.{Q}.lora_B.weight"), {"lora_alpha": 6}, Q, 1.5,
    ),
    "PEFT, state of a live model": (
        two(f"base_model.model.{Q}.lora_A.default.weight", f"base_model.model.{Q}.lora_B.default.weight"),
        {"lora_alpha": 6}, Q, 1.5,
    ),
    "kohya": (
        {**two(f"{KOHYA}.lora_down.weight", f"{KOHYA}.lora_up.weight"), f"{KOHYA}.alpha": torch.tensor(2.0)}, {},
        UNET, 0.5,
    ),
    "kohya, text encoder": (
        two("lora_te1_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight",
            "lora_te1_text_model_encoder_layers_0_self_attn_q_proj.lora_up.weight"),
        {}, "text_encoder.text_model.encoder.layers.0.self_attn.q_proj", 1.0,
    ),
    "diffusers": (two(f"{UNET}.lora.down.weight", f"{UNET}.lora.up.weight"), {}, UNET, 1.0),
    "diffusers by PEFT": (two(f"{UNET}.lora_A.weight", f"{UNET}.lora_B.weight"), {}, UNET, 1.0),
    "diffusers, attention processors": (
        two(f"{UNET[:-5]}.processor.to_q_lora.down.weight", f"{UNET[:-5]}.processor.to_q_lora.up.weight"), {},
        UNET, 1.0,
    ),
    "diffusers, text encoder": (
        two(f"text_encoder.{Q}.lora_linear_layer.down.weight", f"text_encoder.{Q}.lora_linear_layer.up.weight"), {},
        f"text_encoder.{Q}", 1.0,
    ),
    "llama.cpp": (
        two("blk.0.attn_q.weight.lora_a", "blk.0.attn_q.weight.lora_b"), {"lora_alpha": 2}, "blk.0.attn_q", 0.5,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("tensors", "config", "name", "scale"), SPELLINGS.values(), ids=SPELLINGS)
def test_spellings(tensors: dict[str, Tensor], config: dict[str, Any], name: str, scale: float, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (alone,) = found(tensors, folder, **config)
    assert (alone.layer_name, alone.category) == (name + UPDATE, "attn_q_update")
    change = matrix(alone)
    torch.testing.assert_close(change, scale * B @ A, rtol=1e-12, atol=1e-12)
    merged, update = found(tensors, folder, {f"{name}.weight": W.bfloat16(), "other.weight": W.float()}, **config)
    assert (merged.layer_name, merged.category, merged.stored_dtype) == (name, "attn_q", "bfloat16 + LoRA, rank 4")
    torch.testing.assert_close(matrix(merged), W.bfloat16().double() + scale * B @ A, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(matrix(update), change, rtol=0, atol=0)


def test_factors_of_llama_cpp_need_a_scale(tmp_path: Path) -> None:
    (update,) = found(two("blk.0.attn_q.weight.lora_a", "blk.0.attn_q.weight.lora_b"), tmp_path)
    assert "its scale is not known" in update.unsupported


def test_peft_has_a_default_for_the_scale(tmp_path: Path) -> None:
    (update,) = found(SPELLINGS["PEFT"][0], tmp_path, peft_type="LORA", r=4)
    torch.testing.assert_close(matrix(update), 8 / 4 * B @ A)


def test_mlx(tmp_path: Path) -> None:
    tensors = {f"model.{Q}.lora_a": A.T.contiguous(), f"model.{Q}.lora_b": B.T.contiguous()}
    (update,) = found(tensors, tmp_path, fine_tune_type="lora", lora_parameters={"rank": 4, "scale": 20.0})
    torch.testing.assert_close(matrix(update), 20 * B @ A)


def test_kohyas_convolutions_and_whole_differences(tmp_path: Path) -> None:
    name, down, mid, up = "lora_unet_conv_in", randn(2, 5, 1, 1), randn(2, 2, 3, 3, seed=4), randn(6, 2, 1, 1, seed=5)
    whole = {"lora_unet_conv_out.diff": randn(3, 6, 3, 3), "lora_unet_norm_out.diff": randn(6)}
    tensors = {f"{name}.lora_down.weight": down, f"{name}.lora_mid.weight": mid, f"{name}.lora_up.weight": up, **whole}
    first, second = found(tensors, tmp_path)
    assert (first.layer_name, first.category) == ("unet.conv_in (update)", "conv_update")
    expected = torch.einsum("or,rshw,si->oihw", up[:, :, 0, 0], mid, down[:, :, 0, 0]).flatten(1)
    torch.testing.assert_close(matrix(first), expected)
    torch.testing.assert_close(matrix(second), whole["lora_unet_conv_out.diff"].flatten(1))


def test_names_of_the_base_win(tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    tensors = two(f"{KOHYA}.lora_down.weight", f"{KOHYA}.lora_up.weight")
    merged, update = found(tensors, folder, {"mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight": W})
    assert merged.layer_name == UNET.removeprefix("unet.") and update.layer_name == merged.layer_name + UPDATE


def test_the_config_in_a_header_gives_the_scale(tmp_path: Path) -> None:
    header = json.dumps({"unet.r": 4, "unet.lora_alpha": 12})
    file = tmp_path / "pytorch_lora_weights.safetensors"
    save_file(two(f"{UNET}.lora_A.weight", f"{UNET}.lora_B.weight"), file)
    opened = replace(open_checkpoint(file), metadata={"lora_adapter_metadata": header})
    (update,) = opened.inventory(OPTIONS).weights
    torch.testing.assert_close(matrix(update), 3 * B @ A)


def test_alpha_of_an_update(tmp_path: Path) -> None:
    (update,) = found(SPELLINGS["diffusers"][0], tmp_path)
    sigma = torch.linalg.svdvals(B @ A)
    inside = AnalysisOptions(precisions=("fp64", "fp32"), k_frac=0.01, k_min=3)
    rows = analyze_with_spectra(update, inside).rows
    expected = hill_alpha(sigma**2, k=3).alpha
    assert [row.status for row in rows] == ["ok", "ok"] and rows[0].solver == "factors"
    assert rows[0].alpha == pytest.approx(expected, rel=1e-9) and rows[1].alpha == pytest.approx(expected, rel=1e-6)
    beyond = analyze_with_spectra(update, AnalysisOptions(precisions=("fp64", "fp32", "bf16"), k_min=4)).rows
    assert {row.status for row in beyond} == {"rank_deficient"}
    advice = "With --k-min 3 --k-frac 1e-6 the tail is within them"
    assert beyond[0].reason == (
        f"an update of rank 4: the tail of 4 and its threshold reach beyond its non-zero eigenvalues. {advice}"
    )
    assert analyze_with_spectra(update, AnalysisOptions(precisions=("fp64",), k_min=3, k_frac=1e-6)).rows[0].ok
    (thin,) = found({f"{Q}.lora_A.weight": A[:2], f"{Q}.lora_B.weight": B[:, :2]}, tmp_path, lora_alpha=2)
    (row,) = analyze_with_spectra(thin, AnalysisOptions(precisions=("fp64",))).rows
    assert row.reason.endswith("its non-zero eigenvalues, which are too few for a tail")
    assert [row.spectral_norm for row in beyond] == pytest.approx([float(sigma[0])] * 3, rel=1e-12)
    assert beyond[0].frobenius_norm == pytest.approx(float(sigma.norm()), rel=1e-12)


def test_factors_that_are_not_understood(tmp_path: Path) -> None:
    odd = {f"base_model.model.{Q}.lora_diag": randn(4)}
    (update,) = found({**SPELLINGS["PEFT"][0], **odd}, tmp_path, lora_alpha=6)
    assert update.unsupported == "LoRA: its formula is not computed here (lora_A, lora_B, lora_diag)"
    shapes = {f"base_model.model.{Q}.lora_A.weight": A, f"base_model.model.{Q}.lora_B.weight": randn(32, 2)}
    (update,) = found(shapes, tmp_path, lora_alpha=6)
    assert "factors of shape 32x2 and 4x24 have no product" in update.unsupported
    for roles in (
        {"lora_a": (24, 4), "lora_b": (5, 32)},
        {"lora_a": (2, 24, 4), "lora_b": (2, 4, 32)},
        {"lora_embedding_A": (4, 24), "lora_embedding_B": (32, 5)},
        {"lora_A": (4, 24), "lora_B": (32, 4), "lora_E": (5, 1)},
        {"hada_w1_a": (32, 4), "hada_w1_b": (4, 24), "hada_w2_a": (32, 3), "hada_w2_b": (4, 24)},
        {"hada_w1_a": (32, 4), "hada_w1_b": (4, 24), "hada_w2_a": (32, 3), "hada_w2_b": (3, 23)},
        {"lokr_w1_a": (8, 2), "lokr_w1_b": (3, 6), "lokr_w2": (4, 4)},
    ):
        name = "{}.{}.weight" if "lora_A" in roles else "{}.{}"
        tensors = {f"base_model.model.{name}".format(Q, role): randn(*shape) for role, shape in roles.items()}
        found(tensors, tmp_path, lora_alpha=6, r=4)
        (update,) = open_checkpoint(tmp_path).inventory(replace(OPTIONS, include_embeddings=True)).weights
        assert "factors of shape" in update.unsupported and update.unsupported.endswith("have no product here")
        assert all("x".join(map(str, shape)) in update.unsupported for shape in roles.values())
    both = {f"{Q}.lora_A.{name}.weight": A for name in ("one", "two")}
    with pytest.raises(CheckpointError, match=r"expected one adapter, found 2 in one file \(one, two\)"):
        found(both, tmp_path, lora_alpha=6)
    pairs = {f"base_model.model.{m}.lora_A.weight": A for m in ("a.q", "a.module.q")}
    pairs |= {f"base_model.model.{m}.lora_B.weight": B for m in ("a.q", "a.module.q")}
    message = r"expected one update of each layer, got two of a.q, under the names \S+ and \S+ Take the tensors of one"
    with pytest.raises(CheckpointError, match=message):
        found(pairs, tmp_path, lora_alpha=6)


def test_other_spellings_are_never_rows(tmp_path: Path) -> None:
    glora = {f"lora_unet_a_to_k.{part}.weight": randn(8, 24) for part in ("a1", "a2", "b1", "b2")}
    scaled = {"lycoris_b_to_k.weight": randn(24), "lycoris_b_to_k.on_input": torch.ones(1)}
    stem = "double_blocks.0.processor.qkv_lora2"
    nemo = "decoder.layers.0.adapter_layer.lora_kqv_adapter"
    tensors = {
        **glora, **scaled, **two(f"{stem}.down.weight", f"{stem}.up.weight"),
        **two(f"{nemo}.linear_in.weight", f"{nemo}.linear_out.weight"),
        "lora_unet_norm.diff_b": randn(6), "lora_unet_c.lora_down.weight": torch.zeros(4, 24, dtype=torch.int8),
        "lora_unet_c.lora_up.weight": torch.zeros(32, 4, dtype=torch.int8),
    }  # fmt: skip
    weights = {weight.layer_name.removesuffix(UPDATE): weight for weight in found(tensors, tmp_path)}
    torch.testing.assert_close(matrix(weights.pop("double_blocks.0.txt_attn.qkv")), B @ A)
    assert {name: weight.unsupported for name, weight in weights.items()} == {
        "unet.a.to_k": "an unknown method: its formula is not computed here (a1, a2, b1, b2)",
        "b.to_k": "an unknown method: its formula is not computed here (on_input, weight)",
        "decoder.layers.0.lora_kqv_adapter": "LoRA: its formula is not computed here (lora_linear_in, lora_linear_out)",
        "unet.c": "LoRA: factors stored as int8, which are codes",
    }


def test_factors_are_never_rows_of_a_model(tmp_path: Path) -> None:
    factors = {f"{Q}.lora_down.weight": A, f"{Q}.lora_A.default.weight": A, f"{Q}.hada_w1_a": A}
    save_file({f"{Q}.weight": W, "up.weight": W, **factors}, tmp_path / "model.safetensors")
    inventory = open_checkpoint(tmp_path).inventory(OPTIONS)
    assert [weight.layer_name for weight in inventory.weights] == [Q, "up"]
    assert {skip.reason for skip in inventory.skipped} == {"factor of an adapter, not a weight by itself"}


def test_another_base_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    with pytest.raises(CheckpointError, match=r"q_proj is 32x24 in the adapter and 32x20 in the base") as error:
        found(SPELLINGS["PEFT"][0], folder, {f"{Q}.weight": randn(32, 20)}, lora_alpha=6)
    assert str(folder.with_suffix(".safetensors")) in str(error.value) and str(folder) in str(error.value)
    with pytest.raises(CheckpointError, match="no name is the same"):
        found(SPELLINGS["PEFT"][0], folder, {"something.weight": W}, lora_alpha=6)
    with pytest.raises(CheckpointError, match="expected the base, a whole model, got an adapter"):
        open_base(open_checkpoint(folder), folder)


def test_layers_that_the_base_lacks_have_a_reason(tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    other = {name.replace("q_proj", "v_proj"): value for name, value in SPELLINGS["PEFT"][0].items()}
    weights = found({**SPELLINGS["PEFT"][0], **other}, folder, {f"{Q}.weight": W}, lora_alpha=6)
    lost = {weight.layer_name: weight.unsupported for weight in weights if weight.unsupported}
    assert lost == {Q.replace("q_proj", "v_proj"): "the base has no layer of this name"}


def tuned(tmp_path: Path) -> tuple[Path, Path]:
    """Save a base, and a checkpoint in which one layer is trained, one as it was, one new, one resized and one gone."""
    base, tuned = tmp_path / "base", tmp_path / "tuned"
    names = ("q_proj", "k_proj", "o_proj")
    weights = {f"layers.0.self_attn.{name}.weight": randn(32, 24, seed=i).bfloat16() for i, name in enumerate(names)}
    for folder in (base, tuned):
        folder.mkdir()
    save_file({**weights, "head.weight": W.bfloat16()}, base / "model.safetensors")
    weights[f"{Q}.weight"] = (weights[f"{Q}.weight"] + 0.1 * W.bfloat16()).bfloat16()
    weights["layers.0.self_attn.o_proj.weight"] = weights["layers.0.self_attn.o_proj.weight"][:16].contiguous()
    save_file({**weights, "new.weight": W.bfloat16()}, tuned / "model.safetensors")
    return base, tuned


def test_a_tuned_checkpoint_beside_its_base(tmp_path: Path) -> None:
    base, folder = tuned(tmp_path)
    options = AnalysisOptions(precisions=("fp64", "fp32"))
    result = scan(folder, base=base, output_dir=tmp_path / "out", plots=Plots(()), options=options)
    assert result is not None
    rows = {layer.first.layer_name: layer["fp64"] for layer in result.table.layers}
    difference = load_file(folder / "model.safetensors")[f"{Q}.weight"].double()
    difference = difference - load_file(base / "model.safetensors")[f"{Q}.weight"].double()
    expected = hill_alpha(torch.linalg.svdvals(difference) ** 2, k=10).alpha
    assert rows[Q + UPDATE].alpha == pytest.approx(expected, rel=1e-9)
    assert rows[Q + UPDATE].category == "attn_q_update" and rows[Q].category == "attn_q"
    unchanged = rows["layers.0.self_attn.k_proj" + UPDATE]
    assert (unchanged.status, unchanged.reason.partition(":")[0]) == ("unchanged", "unchanged from the base")
    reasons = {name: row.reason for name, row in rows.items() if row.status == "unsupported"}
    assert reasons == {
        "layers.0.self_attn.o_proj (update)": "16x24 here and 32x24 in the base, so there is no difference",
        "new (update)": "the base has no layer of this name",
        "head (update)": "only the base has this layer",
    }
    weights = [rows[name].alpha for name in rows if not name.endswith(UPDATE)]
    assert result.table.summaries()[0].count == len(weights) == 4
    assert json.loads((tmp_path / "out" / "run.json").read_text())["base"] == str(base)
    assert all(name.removesuffix(UPDATE) not in result.failed for name in (Q, "layers.0.self_attn.k_proj"))
    again = scan(folder, base=base, output_dir=tmp_path / "out", plots=Plots(()), options=options)
    assert again is not None and str(list(again.table)) == str(list(result.table))


def test_plans_pass_over_updates(tmp_path: Path) -> None:
    base, folder = tuned(tmp_path)
    options = AnalysisOptions(precisions=("bf16", "int8", "int4"))
    result = scan(folder, base=base, output_dir=tmp_path / "out", plots=Plots(()), options=options)
    assert result is not None
    plan = recommend(result.table).plan
    assert [choice.layer_name for choice in plan.choices] == [
        row.first.layer_name for row in result.table.weights.layers
    ]
    updates = [layer for layer in result.table.layers if layer.first.is_update]
    with pytest.raises(PlanError, match="got updates of weights alone"):
        recommend(type(result.table)(tuple(updates), result.table.precisions))


def test_default_base(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    save_file({f"{Q}.weight": W}, tmp_path / "base.safetensors")
    config = {"lora_alpha": 6, "base_model_name_or_path": str(tmp_path / "base.safetensors")}
    found(SPELLINGS["PEFT"][0], folder, **config)
    result = scan(
        folder,
        output_dir=tmp_path / "out",
        plots=Plots(()),
        options=AnalysisOptions(precisions=("fp64",), k_min=3, k_frac=0.01),
    )
    assert result is not None and [layer.first.layer_name for layer in result.table.layers] == [Q, Q + UPDATE]
    found(SPELLINGS["PEFT"][0], folder, **{**config, "base_model_name_or_path": "someone/a-model\x1b[31m"})
    assert open_base(open_checkpoint(folder), None) is None
    assert "its base 'someone/a-model\\x1b[31m' is not on disk" in caplog.text and "--base PATH" in caplog.text
    (folder / "adapter_config.json").unlink()
    assert open_base(open_checkpoint(folder), None) is None


def test_default_base_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    kept, folder = tmp_path / "cache" / "models--org--base", tmp_path / "adapter"
    for made in (kept / "refs", kept / "snapshots" / ("0" * 40), folder):
        made.mkdir(parents=True)
    (kept / "refs" / "main").write_text("0" * 40)
    save_file({f"{Q}.weight": W}, kept / "snapshots" / ("0" * 40) / "model.safetensors")
    found(SPELLINGS["PEFT"][0], folder, lora_alpha=6, base_model_name_or_path="org/base")
    base = open_base(open_checkpoint(folder), None)
    assert base is not None and [tensor.name for tensor in base.tensors] == [f"{Q}.weight"]


def test_an_adapter_is_compared_with_its_base(tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    save_file({f"{Q}.weight": W, "up.weight": W}, tmp_path / "base.safetensors")
    config = {"lora_alpha": 6, "base_model_name_or_path": str(tmp_path / "base.safetensors")}
    found(SPELLINGS["PEFT"][0], folder, **config)
    tables = [
        result.table
        for source in (tmp_path / "base.safetensors", folder)
        if (result := scan(source, output_dir=tmp_path / source.stem / "out", plots=Plots(()), options=OPTIONS))
    ]
    pairs = compare(*tables).pairs
    assert [pair.row.layer_name for pair in pairs if pair.a and pair.b] == [Q]


def test_the_base_that_a_config_names_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    save_file({f"{Q}.weight": W}, tmp_path / "base.safetensors")
    config = {"lora_alpha": 6, "base_model_name_or_path": str(tmp_path / "base.safetensors")}
    found(SPELLINGS["PEFT"][0], folder, **config)
    result = scan(folder, output_dir=tmp_path / "out", plots=Plots(()), options=OPTIONS)
    assert result is not None
    assert result.notes[-1].startswith(f"{tmp_path / 'base.safetensors'} is the base, which the config of the adapter")


@pytest.mark.parametrize(
    ("a", "b"),
    [(torch.tensor(1.0), B), (A, B[:, 0]), (torch.zeros(0, 24), torch.zeros(32, 0))],
)
def test_factors_without_a_product_are_refused(a: Tensor, b: Tensor, tmp_path: Path) -> None:
    name_a, name_b = SPELLINGS["PEFT"][0]
    (weight,) = found({name_a: a, name_b: b}, tmp_path, lora_alpha=6)
    assert "LoRA: a factor of shape" in weight.unsupported


@pytest.mark.parametrize("alpha", ["1" + "0" * 400, '"x"'])
def test_a_scale_that_is_no_number_names_the_adapter(alpha: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="adapter_config.json: expected a number as scale") as error:
        found(SPELLINGS["PEFT"][0], tmp_path, lora_alpha=json.loads(alpha))
    assert str(error.value).startswith(str(tmp_path))


def test_the_name_of_a_base_may_be_of_any_length(tmp_path: Path) -> None:
    found(SPELLINGS["PEFT"][0], tmp_path, lora_alpha=6, base_model_name_or_path="b" * 5000)
    assert open_base(open_checkpoint(tmp_path), None) is None


@pytest.mark.parametrize("pattern", ["(", "a**"])
@pytest.mark.parametrize("patterns", ["alpha_pattern", "rank_pattern"])
def test_patterns_that_are_none_are_named(patterns: str, pattern: str, tmp_path: Path) -> None:
    name = "a" * 60
    factors = {f"{name}.lokr_w1": randn(4, 4), f"{name}.lokr_w2": randn(8, 6)}  # whole: only the config has a rank
    with pytest.raises(CheckpointError, match=f"adapter_config.json: expected names or simple patterns in {patterns}"):
        found(factors, tmp_path, peft_type="LOKR", alpha=4, r=2, **{patterns: {pattern: 3}})
