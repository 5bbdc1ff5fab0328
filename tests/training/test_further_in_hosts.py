"""`estimators=` and `measures=` in real runs: the files of a state are those of a scan of its checkpoint."""

import csv
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.scanning.scan import scan
from alpha_callbacks.scanning.write_results import Plots
from alpha_callbacks.tables.further_csv import ESTIMATES, MEASURES

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
ASKED: dict[str, Any] = dict(precisions=("fp32", "int8"), estimators=("half", "quantile_k"), measures=("all",))


def need(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")


def of_lightning(folder: Path) -> tuple[Path, Path]:
    need("lightning")
    import lightning.pytorch as pl

    from alpha_callbacks.training.lightning_callback import AlphaHillCallback
    from tests.support.lightning_runs import fit

    saves = pl.callbacks.ModelCheckpoint(dirpath=folder, filename="saved", every_n_train_steps=6)
    callback = AlphaHillCallback(sinks=["csv"], output_dir=folder / "alpha_hill", **ASKED)
    fit(pl, folder, [callback, saves], val=False)
    return folder / "saved.ckpt", folder / "alpha_hill"


def of_hf(folder: Path) -> tuple[Path, Path]:
    need("transformers")
    need("accelerate")
    from alpha_callbacks.training.hf_callback import AlphaHillTrainerCallback
    from tests.support.hf_runs import trainer

    callback = AlphaHillTrainerCallback(sinks=["csv"], output_dir=folder / "alpha_hill", include="layers.0", **ASKED)
    trainer(folder, [callback], save_steps=6).train()
    return folder / "checkpoint-6", folder / "alpha_hill"


HOSTS: dict[str, Callable[[Path], tuple[Path, Path]]] = {"lightning": of_lightning, "hf": of_hf}


def cells(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("host", HOSTS)
def test_files_of_a_state_are_those_of_a_scan_of_its_checkpoint(host: str, tmp_path: Path) -> None:
    checkpoint, states = HOSTS[host](tmp_path)
    options = AnalysisOptions(include="layers.0" if host == "hf" else None, **ASKED)
    scan(checkpoint, output_dir=tmp_path / "scan", options=options, plots=Plots(()), report=False, workers=1)
    folders = [folder for folder in states.glob("step_*") if folder.is_dir()]
    assert states / "step_00000006" in folders
    for folder in folders:
        assert (folder / ESTIMATES).is_file() and (folder / MEASURES).is_file()
    for name in (ESTIMATES, MEASURES):
        ours, scanned = cells(states / "step_00000006" / name), cells(tmp_path / "scan" / name)
        assert ours == scanned and len(ours) >= 2 * 2
    names = cells(tmp_path / "scan" / MEASURES)[0]
    assert names["kurtosis"] and names["effective_rank"] and names["rand_distance"] and names["reason"] == ""
