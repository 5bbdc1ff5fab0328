"""`import alpha_callbacks` is quick and touches nothing; every public name is there."""

import ast
from pathlib import Path

import pytest
from torch import nn

import alpha_callbacks
from alpha_callbacks import AnalysisOptions, Monitor, Plots, read_results, scan
from tests.conftest import REPOSITORY
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


def test_analysis_needs_no_plots_or_hub() -> None:
    names = "analyze_weights, scan, module_inventory, open_checkpoint, Table"
    loaded = loaded_after(f"from alpha_callbacks import {names}")
    assert not loaded.intersection({"matplotlib", "pandas", "transformers", "huggingface_hub", "gguf", "rich", "typer"})
    assert "torch" in loaded, "what is loaded would be seen"


COMMANDS = """
from alpha_callbacks.cli.app import main
for line in {lines!r}:
    sys.argv = line.split()
    try:
        main()
    except SystemExit as end:
        assert not end.code, line
"""


def test_what_reads_tables_only_does_not_wait_for_torch(tmp_path: Path) -> None:
    options = AnalysisOptions(precisions=("bf16", "int8", "int4"), include=r"layers\.0\.(mlp|self_attn\.q)")
    scan(output_dir=tmp_path / "scanned", options=options, plots=Plots(formats=()), report=False, save_spectra=True)
    with Monitor(AnalysisOptions(precisions=("fp32",)), sinks=["csv"], output_dir=tmp_path) as monitor:
        for step in range(2):
            monitor.log(nn.Linear(24, 16), step=step)
    lines = [
        "alpha-hill scan --help",
        f"alpha-hill recommend {tmp_path}/scanned",
        f"alpha-hill compare {tmp_path}/scanned -p bf16,int4 -o {tmp_path}/compared --no-plots",
        f"alpha-hill history {tmp_path} --no-plots",
        f"alpha-hill report {tmp_path}/scanned",
        f"alpha-hill merge {tmp_path}/scanned -o {tmp_path}/merged --no-plots",
    ]
    loaded = loaded_after(COMMANDS.format(lines=lines))
    assert not loaded.intersection({"torch", "scipy", "transformers", "safetensors", "huggingface_hub"})
    assert len(read_results(tmp_path / "merged")) == 4 and (tmp_path / "compared" / "compare.html").exists()


STAR = """
import os, random, sys
import numpy, torch
kept = {**os.environ}, random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
from alpha_callbacks import *
now = {**os.environ}, random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
assert now == kept and (threads, dtype) == (torch.get_num_threads(), torch.get_default_dtype())
assert scan and Monitor and plot_layer and write_report
"""


def test_a_star_loads_no_framework_and_changes_nothing() -> None:
    frameworks = {"lightning", "pytorch_lightning", "transformers", "accelerate", "bitsandbytes", "peft", "torchao"}
    assert not loaded_after(STAR).intersection({*frameworks, "wandb", "tensorboard", "huggingface_hub", "gguf"})


def test_callbacks_are_imported_by_name_only() -> None:
    left_out = alpha_callbacks._HOMES.keys() - {*alpha_callbacks.__all__}
    assert left_out == {f"Alpha{what}Callback" for what in ("Hill", "HillTrainer", "Control", "ControlTrainer")}
    assert left_out <= {*dir(alpha_callbacks)}


@pytest.mark.parametrize("name", alpha_callbacks._HOMES)
def test_public_names(name: str) -> None:
    assert getattr(alpha_callbacks, name).__doc__


def test_static_checkers_read_the_same_names_from_the_same_places() -> None:
    source = (REPOSITORY / "alpha_callbacks" / "__init__.py").read_text()
    (block,) = (node for node in ast.parse(source).body if isinstance(node, ast.If))
    lines = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    read = {name.asname: str(line.module).partition(".")[2] for line in lines for name in line.names}
    assert read == alpha_callbacks._HOMES


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        alpha_callbacks.nonsense  # noqa: B018
