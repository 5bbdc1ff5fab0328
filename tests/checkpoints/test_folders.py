"""Folders as they lie on disk: pipelines, modules, the hub's cache, runs, and those without weights."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from alpha_callbacks.checkpoints.fingerprint import fingerprint
from alpha_callbacks.checkpoints.locate import locate
from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.errors import CheckpointError
from alpha_callbacks.options import AnalysisOptions
from tests.conftest import noise


def put(file: Path, seed: int = 0, **more: Tensor) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({"block.0.fc1.weight": noise(12, 12, seed=seed), **more}, file)
    return file


def layers(path: Path, options: AnalysisOptions | None = None) -> list[str]:
    return [weight.layer_name for weight in open_checkpoint(path).inventory(options or AnalysisOptions()).weights]


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    """Stable Diffusion's folder in small."""
    folder = tmp_path / "sd"
    put(folder / "unet" / "diffusion_pytorch_model.safetensors", 1)
    put(folder / "unet" / "diffusion_pytorch_model.fp16.safetensors", 2)
    put(folder / "text_encoder" / "model.safetensors", 3)
    put(folder / "sd_xl_base_1.0.safetensors", 4)
    (folder / "scheduler").mkdir()
    description = {
        "_class_name": "StableDiffusionXLPipeline",
        "force_zeros_for_empty_prompt": True,
        "scheduler": ["diffusers", "EulerDiscreteScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "safety_checker": [None, None],
    }
    (folder / "model_index.json").write_text(json.dumps(description))
    return folder


def test_a_pipeline_is_read_as_its_components(pipeline: Path) -> None:
    put(pipeline / "extra" / "model.safetensors")
    assert layers(pipeline) == ["text_encoder.block.0.fc1", "unet.block.0.fc1"]
    checkpoint = open_checkpoint(pipeline)
    assert checkpoint.notes == (
        "sd is read as its parts: text_encoder, unet.",
        "vae: named by the description of the model, not in the folder.",
        "Left aside, since no component: sd_xl_base_1.0.safetensors, extra.",
        "unet.: diffusion_pytorch_model.safetensors is read, since no variant goes before a variant; left aside: "
        "diffusion_pytorch_model.fp16.safetensors.",
    )
    assert fingerprint(checkpoint).keys() == {
        "text_encoder/model.safetensors", "unet/diffusion_pytorch_model.safetensors", "config"
    }  # fmt: skip
    assert set(checkpoint.stamps) == set(checkpoint.files)


def test_the_filter_sees_the_names_with_their_component(pipeline: Path) -> None:
    options = AnalysisOptions(include=r"^unet\.")
    assert layers(pipeline, options) == ["unet.block.0.fc1"]
    (skipped,) = open_checkpoint(pipeline).inventory(options).skipped
    assert skipped.name == "text_encoder.block.0.fc1.weight"


def test_each_component_is_split_by_its_own_config(pipeline: Path) -> None:
    put(pipeline / "text_encoder" / "model.safetensors", **{"h.0.attn.qkv_proj.weight": noise(48, 16)})
    config = {"model_type": "phi3", "hidden_size": 16, "num_attention_heads": 4}
    (pipeline / "text_encoder" / "config.json").write_text(json.dumps(config))
    assert {f"text_encoder.h.0.attn.qkv_proj.{part}" for part in "qkv"} < set(layers(pipeline))


def test_all_modules_of_sentence_transformers(tmp_path: Path) -> None:
    put(tmp_path / "model.safetensors")
    put(tmp_path / "2_Dense" / "model.safetensors", linear=noise(3, 3), **{"linear.weight": noise(8, 8)})
    (tmp_path / "1_Pooling").mkdir()
    modules = [{"path": ""}, {"path": "1_Pooling"}, {"path": "2_Dense"}, {"path": "../.."}, {"path": 5}, "odd"]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    assert layers(tmp_path) == ["block.0.fc1", "2_Dense.block.0.fc1", "2_Dense.linear"]


def test_modules_without_weights_of_their_own_are_the_model_alone(tmp_path: Path) -> None:
    put(tmp_path / "model.safetensors")
    (tmp_path / "modules.json").write_text(json.dumps([{"path": ""}, {"path": "1_Pooling"}]))
    assert layers(tmp_path) == ["block.0.fc1"]
    assert open_checkpoint(tmp_path).notes == ()


def test_the_cache_of_the_hub(tmp_path: Path) -> None:
    folder = tmp_path / "models--org--name"
    put(folder / "snapshots" / "aaa" / "model.safetensors")
    for named in (folder, folder / "snapshots"):
        assert layers(named) == ["block.0.fc1"]
        assert open_checkpoint(named).notes == (f"{named.name} is read as its snapshot aaa.",)
    put(folder / "snapshots" / "bbb" / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"others below it \(snapshots/aaa, snapshots/bbb\). Scan one, as in"):
        open_checkpoint(folder)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("bbb\n")
    assert open_checkpoint(folder).files == (folder / "snapshots" / "bbb" / "model.safetensors",)
    put(folder / "model.safetensors")
    (own,) = open_checkpoint(folder).files
    assert own == folder / "model.safetensors"  # a run that keeps snapshots beside its weights


def test_checkpoints_below_are_listed_with_the_command(tmp_path: Path) -> None:
    for step in (500, 1000, 2000):
        put(tmp_path / f"checkpoint-{step}" / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"\(checkpoint-2000, checkpoint-1000, checkpoint-500\)") as error:
        open_checkpoint(tmp_path)
    assert str(error.value).endswith(f"`alpha-hill scan {tmp_path}/checkpoint-2000`.")
    put(tmp_path / "model.safetensors")
    assert layers(tmp_path) == ["block.0.fc1"]
    assert open_checkpoint(tmp_path).notes == (
        "Folders below hold weights too, which are not read: checkpoint-2000, checkpoint-1000, checkpoint-500.",
    )


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ((), "found an empty folder"),
        (("config.json",), r"found none \(only the config of a model\). Download the weights too"),
        (("tokenizer.json", "tokenizer_config.json"), r"only a tokenizer\)"),
        (("adapter_config.json",), "only the description of an adapter"),
        (tuple(f"{i}.txt" for i in range(8)), r"only 0.txt, 1.txt, 2.txt, 3.txt, 4.txt, 5.txt and 2 more"),
        (("flax_model.msgpack", "config.json"), "got MessagePack"),
        (("model.onnx",), "got ONNX"),
        (("optimizer.pt", "rng_state.pth"), r"only optimizer.pt, rng_state.pth\)"),
        (("saved_model.pb",), "only a TensorFlow SavedModel"),
        ((".cache/huggingface/download/abc.incomplete",), "an unfinished download"),
    ],
)
def test_a_folder_without_weights_says_what_it_holds(tmp_path: Path, files: tuple[str, ...], message: str) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"\x00\xff")
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(tmp_path)


def test_names_like_weights_that_are_folders_are_no_weights(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").mkdir()
    with pytest.raises(CheckpointError, match="expected a file of weights"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "index",
    [
        '{"weight_map": {"a": 5}}',
        '{"weight_map": {"a": ["x"]}}',
        '{"weight_map": {}}',
        '{"weight_map": {"a": null}}',
        "[" * 100_000,
    ],
)
def test_an_index_of_other_things_than_names(tmp_path: Path, index: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(CheckpointError, match="expected JSON with a weight_map"):
        open_checkpoint(tmp_path)


def test_what_an_index_leaves_out_is_read_and_said(tmp_path: Path) -> None:
    put(tmp_path / "model-00001-of-00001.safetensors", **{"block.1.fc1.weight": noise(4, 4)})
    index = {"weight_map": {"block.0.fc1.weight": "model-00001-of-00001.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert layers(tmp_path) == ["block.0.fc1", "block.1.fc1"]
    assert open_checkpoint(tmp_path).notes == (
        "model.safetensors.index.json does not list 1 tensors of its files (block.1.fc1.weight, …); they are read.",
    )


def test_pieces_of_model_parallelism_are_refused(tmp_path: Path) -> None:
    for rank in range(2):
        put(tmp_path / f"model{rank}-mp2.safetensors", rank)
    with pytest.raises(
        CheckpointError, match=r"model0-mp2.safetensors: expected whole matrices, got one of the pieces"
    ):
        open_checkpoint(tmp_path / "model0-mp2.safetensors")


def test_pieces_that_hold_the_same_names_are_refused(tmp_path: Path) -> None:
    for rank in range(2):
        torch.save({"layers.0.attention.wq.weight": noise(4, 8)}, tmp_path / f"consolidated.0{rank}.pth")
    for named in (tmp_path, tmp_path / "consolidated.00.pth"):
        with pytest.raises(CheckpointError, match="consolidated.0"):
            open_checkpoint(named)


def test_a_config_that_is_odd_is_no_traceback(tmp_path: Path) -> None:
    put(tmp_path / "model.safetensors", **{"model.embed_tokens.weight": noise(20, 12)})
    for architectures in (5, {"a": 1}, "LlamaForCausalLM", None, [5]):
        (tmp_path / "config.json").write_text(json.dumps({"architectures": architectures}))
        assert layers(tmp_path)[0] == "block.0.fc1"
    (tmp_path / "config.json").write_text('{"a":' * 100_000)
    with pytest.raises(CheckpointError, match="expected JSON, got JSON that is nested too deep"):
        open_checkpoint(tmp_path)


def test_folders_of_distributed_checkpoints_below_are_listed(tmp_path: Path) -> None:
    (tmp_path / "step-1").mkdir()
    with pytest.raises(CheckpointError, match=r"expected a file of weights, found only folders without any \(step-1\)"):
        open_checkpoint(tmp_path)
    (tmp_path / "step-1" / ".metadata").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"found them in others below it \(step-1\). Scan one, as in"):
        open_checkpoint(tmp_path)


def test_layers_of_one_name_in_two_files_are_listed_under_their_paths(tmp_path: Path) -> None:
    for i, name in enumerate(("_orig_mod.a.weight", "a.weight")):
        save_file({name: noise(8, 8)}, tmp_path / f"model-0000{i + 1}-of-00002.safetensors")
    assert sorted(layers(tmp_path)) == ["_orig_mod.a", "a"]


@pytest.mark.parametrize("length", [300, 5000])
def test_a_name_that_is_too_long_is_nothing(length: int) -> None:
    with pytest.raises(CheckpointError, match="expected a file, a folder or a model id .*, found nothing there"):
        locate("a/" + "b" * length + "/c")


def test_an_empty_text_is_not_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "model.safetensors")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="expected a file, a folder or a model id .*, got an empty text"):
        locate("")
