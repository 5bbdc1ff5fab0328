"""`import alpha_callbacks` is quick and touches nothing; every public name is there."""

import pytest

import alpha_callbacks
from tests.support.imported import loaded_after

HEAVY = (
    "torch",
    "pandas",
    "matplotlib",
    "transformers",
    "lightning",
    "wandb",
    "tensorboard",
    "huggingface_hub",
    "gguf",
    "rich",
)


def test_import_pulls_in_nothing_heavy() -> None:
    assert not loaded_after("import alpha_callbacks").intersection(HEAVY)


def test_that_test_can_fail() -> None:
    assert "torch" in loaded_after("import alpha_callbacks; alpha_callbacks.Weight")


def test_analysis_needs_no_plots_or_hub() -> None:
    names = "analyze_weights, scan, module_inventory, open_checkpoint, Table"
    loaded = loaded_after(f"from alpha_callbacks import {names}")
    assert not loaded.intersection({"matplotlib", "pandas", "transformers", "huggingface_hub", "gguf", "rich", "typer"})


def test_help_does_not_wait_for_torch() -> None:
    assert "torch" not in loaded_after("import alpha_callbacks.cli.app")


@pytest.mark.parametrize("name", alpha_callbacks.__all__)
def test_public_names(name: str) -> None:
    assert getattr(alpha_callbacks, name).__doc__


def test_all_is_sorted_and_complete() -> None:
    assert alpha_callbacks.__all__ == sorted(alpha_callbacks._HOMES)


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        alpha_callbacks.nonsense  # noqa: B018
