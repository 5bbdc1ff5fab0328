"""Every public function that takes a path takes it as `str` and as `Path`."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import alpha_callbacks as ac
from alpha_callbacks.checkpoints.locate import EMBEDDED
from alpha_callbacks.scanning.scan import ScanShare
from tests.support.plan_examples import plan_of

AsPath = Callable[[Path], Any]
QUIET: dict[str, Any] = {"plots": ac.Plots(()), "report": False, "save_spectra": False}
PLAN = plan_of({"fc": "int8"})


def _scanned(path: AsPath, tmp: Path) -> Path:
    options = ac.AnalysisOptions(precisions=("fp32", "bf16"), include="layers.0")
    assert ac.scan(path(EMBEDDED), output_dir=path(tmp / "out"), options=options, **QUIET)
    return tmp / "out"


def _merge(path: AsPath, tmp: Path) -> Any:
    ac.scan(EMBEDDED, output_dir=tmp / "a", shard=ScanShare(1, 1), **QUIET)
    return ac.merge([path(tmp / "a")], output_dir=path(tmp / "b"), plots=ac.Plots(()), report=False)


def _plan(path: AsPath, tmp: Path) -> Any:
    ac.write_plan(PLAN, path(tmp / "plan.json"))
    return ac.read_plan(path(tmp / "plan.json"))


def _write_model(path: AsPath, tmp: Path) -> Any:
    pytest.importorskip("compressed_tensors")
    plan = ac.recommend(_scanned(path, tmp), ac.RecommendOptions(policy="thresholds")).plan
    return ac.write_model(path(EMBEDDED), plan, path(tmp / "quantized"), "compressed-tensors")


def _monitor(path: AsPath, tmp: Path) -> Any:
    torch.save({"fc.weight": torch.randn(64, 48)}, tmp / "model.pt")
    with ac.Monitor(output_dir=path(tmp / "run"), sinks=["csv"], on_error="raise") as monitor:
        monitor.open(output_dir=path(tmp / "other"))
        monitor.log(nn.Sequential(nn.Linear(64, 64)), 0)
        monitor.log_checkpoint(path(tmp / "model.pt"), 1)
    return ac.read_history(path(tmp / "other"))


def _language_model(path: AsPath, tmp: Path) -> Any:
    pytest.importorskip("transformers")
    (tmp / "text.txt").write_text("the cat sat on the mat " * 50)
    return ac.load_language_model(path(EMBEDDED)).windows(path(tmp / "text.txt"), tokens=16)


def _callback(name: str, package: str) -> Callable[[AsPath, Path], Any]:
    def make(path: AsPath, tmp: Path) -> Any:
        pytest.importorskip(package)
        return getattr(ac, name)(output_dir=path(tmp))

    return make


CASES: dict[str, Callable[[AsPath, Path], Any]] = {
    "AlphaHillCallback": _callback("AlphaHillCallback", "lightning"),
    "AlphaHillTrainerCallback": _callback("AlphaHillTrainerCallback", "transformers"),
    "Monitor": _monitor,
    "compare": lambda path, tmp: ac.compare(path(_scanned(path, tmp)), path(tmp / "out"), precisions=("fp32", "bf16")),
    "load_language_model": _language_model,
    "merge": _merge,
    "open_checkpoint": lambda path, tmp: ac.open_checkpoint(path(EMBEDDED)),
    "open_spectra": lambda path, tmp: ac.open_spectra(path(tmp)).keys(),
    "read_history": _monitor,
    "read_plan": _plan,
    "read_results": lambda path, tmp: ac.read_results(path(_scanned(path, tmp))),
    "recommend": lambda path, tmp: ac.recommend(path(_scanned(path, tmp)), ac.RecommendOptions(policy="thresholds")),
    "scan": _scanned,
    "write_model": _write_model,
    "write_plan": _plan,
    "write_report": lambda path, tmp: ac.write_report(path(_scanned(path, tmp)), output=path(tmp / "r.html")),
}


@pytest.mark.parametrize("kind", [str, Path])
@pytest.mark.parametrize("name", CASES)
def test_a_path_may_be_a_string(name: str, kind: type, tmp_path: Path) -> None:
    assert CASES[name](kind, tmp_path) is not None


def _parameters() -> dict[str, str]:
    """Return public name, parameter -> annotation, for all that can be called and mention a path."""
    found = {}
    for name in ac._HOMES:
        thing = getattr(ac, name)
        if inspect.isroutine(thing) or name in ("Monitor", "AlphaHillCallback", "AlphaHillTrainerCallback"):
            for parameter in inspect.signature(thing).parameters.values():
                if re.search(r"\bPath\b", str(parameter.annotation)):
                    found[f"{name}({parameter.name})"] = str(parameter.annotation)
    return found


def test_every_public_function_with_a_path_is_walked_and_takes_strings() -> None:
    taking = _parameters()
    assert {name.partition("(")[0] for name in taking} == set(CASES)
    assert [name for name, annotation in taking.items() if not re.search(r"\bstr\b", annotation)] == []


def test_a_recommendation_of_a_folder_names_the_model(tmp_path: Path) -> None:
    folder = _scanned(str, tmp_path)
    options = ac.RecommendOptions(policy="thresholds")
    assert ac.recommend(str(folder), options).plan.model == str(EMBEDDED)
    assert ac.recommend(str(folder), options, model="mine").plan.model == "mine"
    assert ac.recommend(ac.read_results(folder), options).plan.model == ""
