"""A callback is pickled and copied in mid-run, since much leads to it: the trainer, a bound collate function."""

import copy
import pickle
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import pytest

from alpha_callbacks.training.monitor import Monitor
from tests.training.test_contract import need

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def travel(callback: Any, seen: list[Any]) -> None:
    seen.append(pickle.loads(ForkingPickler.dumps(callback)))  # as spawned data loader workers get it
    seen.append(copy.deepcopy(callback))


@pytest.mark.parametrize("background", [False, True])
def test_lightning(tmp_path: Path, background: bool) -> None:
    need("lightning")
    need("tensorboard")
    import lightning.pytorch as pl

    from alpha_callbacks.training.lightning_callback import AlphaHillCallback
    from tests.support.lightning_runs import fit

    seen: list[Any] = []
    ours = AlphaHillCallback(images=False, background=background)

    class Probe(pl.Callback):
        def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
            if not trainer.sanity_checking:
                travel(ours, seen)

    logger = pl.loggers.TensorBoardLogger(tmp_path)
    fit(pl, tmp_path, [ours, Probe()], logger=logger)
    assert len(seen) == 4 and ours.monitor.newest == 6
    for one in [*seen, pickle.loads(pickle.dumps(ours)), copy.deepcopy(ours)]:
        assert one._hooks is None and not one.monitor.running and one.monitor.options == ours.monitor.options
    fit(pl, tmp_path / "copy", [seen[-1]], logger=pl.loggers.TensorBoardLogger(tmp_path / "copy"))
    assert seen[-1].monitor.newest == 6 and (tmp_path / "copy").is_dir()


@pytest.mark.parametrize("background", [False, True])
def test_hf(tmp_path: Path, background: bool) -> None:
    need("transformers")
    need("accelerate")
    need("tensorboard")
    import transformers

    from alpha_callbacks.training.hf_callback import AlphaHillTrainerCallback
    from tests.support.hf_runs import trainer

    seen: list[Any] = []
    ours = AlphaHillTrainerCallback(images=False, background=background)

    class Probe(transformers.TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 3:
                travel(ours, seen)

    run = trainer(tmp_path, [ours, Probe()], report_to=["tensorboard"])
    ours.attach(run)
    run.train()
    for one in [*seen, pickle.loads(pickle.dumps(ours)), copy.deepcopy(ours)]:
        assert one._reporters == () and not one.monitor.running and one.monitor.options == ours.monitor.options
    assert len(seen) == 2 and ours.monitor.newest == 6
    trainer(tmp_path / "copy", [seen[-1]], report_to=["tensorboard"], max_steps=2).train()
    assert seen[-1].monitor.newest == 2


class Run:
    """Like that of W&B: can be pickled, but not read where it was made."""

    def define_metric(self) -> None: ...

    def log(self) -> None: ...

    def log_artifact(self) -> None: ...

    def __setstate__(self, state: Any) -> None:
        raise RuntimeError("attach in the same process is not supported")

    def __getstate__(self) -> dict[str, int]:
        return {"id": 1}


def test_a_run_that_was_handed_in_is_found_again() -> None:
    run = Run()
    watching = Monitor(sinks=["csv", run])
    for other in (pickle.loads(pickle.dumps(watching)), copy.deepcopy(watching)):
        assert other._wanted == ["csv", run]
