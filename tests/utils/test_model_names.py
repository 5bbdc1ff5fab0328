"""What a model is called."""

from pathlib import Path

import pytest

from alpha_callbacks.utils.model_names import SUFFIXES, model_name


@pytest.mark.parametrize(
    "source, name",
    [
        ("meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.1-8B"),
        ("/home/me/hub/models--meta-llama--Llama-3.1-8B/snapshots/0e9e39f2", "meta-llama/Llama-3.1-8B"),
        ("/nowhere/SmolLM2.Q4_1.gguf", "SmolLM2.Q4_1"),
        ("/nowhere/tiny/model.safetensors", "tiny/model"),
        ("/nowhere/run/checkpoint-5000", "run/checkpoint-5000"),
        ("runs/x.pt", "x"),
        ("run\ud800/x", "run\ud800/x"),
        *((f"org/x{suffix}", "x") for suffix in SUFFIXES),
    ],
)
def test_names(source: str, name: str) -> None:
    assert model_name(source) == name


def test_a_folder_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my-model").mkdir()
    assert model_name(tmp_path / "my-model") == "my-model"
    monkeypatch.chdir(tmp_path / "my-model")
    assert model_name(".") == "my-model"
