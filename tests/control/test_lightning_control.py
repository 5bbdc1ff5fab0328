"""Layer-wise control in real Lightning runs."""

import copy
import csv
import logging
import pickle
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from alpha_callbacks.control.control_log import FILE
from alpha_callbacks.control.parameter_groups import split_per_layer
from alpha_callbacks.errors import OptionError
from alpha_callbacks.sinks.sink import MemorySink
from tests.support.lightning_runs import trainer

pytest.importorskip("lightning")
pytest.importorskip("pytorch_lightning")
import lightning.pytorch
import pytorch_lightning

from alpha_callbacks.control.lightning_control import AlphaControlCallback

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:lightning.*"),
    pytest.mark.filterwarnings("ignore::UserWarning:pytorch_lightning.*"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*num_workers.*"),
]
NAMESPACES = [lightning.pytorch, pytorch_lightning]
OPTIONS: dict[str, Any] = dict(rule="llr", every=3, ramp=2, until=1.0)
WIDTH = 52


class Recorder:
    """The learning rates within each optimizer step."""

    def __init__(self) -> None:
        self.inside: list[list[float]] = []


def module_class(pl: ModuleType, recorder: Recorder, *, split: bool = True) -> Any:
    class Net(pl.LightningModule):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.net = nn.ModuleList(nn.Linear(WIDTH + 8 * n, WIDTH) for n in range(4))

        def training_step(self, batch: Any, index: int) -> Tensor:
            return torch.stack([layer(batch[0][:, : layer.in_features]).square().mean() for layer in self.net]).sum()

        def train_dataloader(self) -> Any:
            # The same batch eight times: Lightning begins an epoch that is resumed with its first batch again.
            data = torch.randn(4, 80, generator=torch.Generator().manual_seed(1)).repeat(8, 1)
            return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(data), batch_size=4)

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.AdamW(self.parameters(), lr=0.01)
            if split:
                split_per_layer(self, optimizer)
            optimizer.register_step_post_hook(  # before the one that gives the groups their own values back
                lambda o, args, kwargs: recorder.inside.append([g["lr"] for g in o.param_groups])
            )
            scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    return Net


def fit(pl: ModuleType, folder: Path, callback: Any, recorder: Recorder, ckpt: Any = None, **options: Any) -> Any:
    module = module_class(pl, recorder)()
    run = trainer(pl, folder, [callback] if callback else [], max_epochs=2, **options)
    run.fit(module, ckpt_path=ckpt)
    return run, module


def weights(module: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


@pytest.mark.parametrize("pl", NAMESPACES, ids=lambda pl: pl.__name__)
def test_a_run_and_its_resumption_are_bit_for_bit_the_same(pl: ModuleType, tmp_path: Path) -> None:
    """16 steps; the checkpoints of steps 4 (in mid-ramp) and 6 (of a decision) are resumed."""
    memory, recorder = MemorySink(), Recorder()
    saving = pl.callbacks.ModelCheckpoint(
        dirpath=tmp_path / "c", every_n_train_steps=2, save_top_k=-1, filename="{step}"
    )
    whole = AlphaControlCallback(**OPTIONS, sinks=[memory])
    run = trainer(pl, tmp_path / "a", [saving, whole], max_epochs=2)
    module = module_class(pl, recorder)()
    run.fit(module)
    assert [step for step, _ in memory.values] == [0, 3, 6, 9, 12, 15]
    for step in (4, 6):
        again = Recorder()
        path = tmp_path / "c" / f"step={step}.ckpt"
        groups = torch.load(path, weights_only=True)["optimizer_states"][0]["param_groups"]
        assert {round(group["lr"], 12) for group in groups} == {round(0.01 * 0.9**step, 12)}
        _, resumed = fit(pl, tmp_path / f"r{step}", AlphaControlCallback(**OPTIONS), again, ckpt=path)
        assert again.inside == recorder.inside[step:]
        assert torch.equal(weights(resumed), weights(module))


def test_the_rows_and_values_of_a_run(tmp_path: Path) -> None:
    logger = lightning.pytorch.loggers.CSVLogger(tmp_path)
    callback = AlphaControlCallback("tempbalance", every=5)
    fit(lightning.pytorch, tmp_path, callback, Recorder(), logger=logger)
    folder = Path(logger.log_dir) / "alpha_control"
    rows = list(csv.DictReader((folder / FILE).read_text().splitlines()))
    assert [(row["step"], row["layer_name"]) for row in rows] == [
        (str(step), f"net.{n}") for step in (0, 5, 10, 15) for n in range(4)
    ]
    assert callback.last is not None and callback.last.step == 15 and callback.multipliers == {}
    assert {row["multiplier"] for row in rows} == {"1.0", "0.5", "1.5"}
    assert [round(float(row["value"]), 9) for row in rows[::4]] == [round(0.01 * 0.9**n, 9) for n in (0, 5, 10, 15)]
    logged = list(csv.DictReader((Path(logger.log_dir) / "metrics.csv").read_text().splitlines()))
    assert {row["alpha_control/lr_max"] for row in logged} == {"1.5"}


def test_gradient_accumulation_counts_optimizer_steps(tmp_path: Path) -> None:
    memory, recorder = MemorySink(), Recorder()
    fit(
        lightning.pytorch,
        tmp_path,
        AlphaControlCallback(**OPTIONS, sinks=[memory]),
        recorder,
        accumulate_grad_batches=2,
    )
    assert [step for step, _ in memory.values] == [0, 3, 6]
    assert len(recorder.inside) == 8


def test_the_published_end_of_decisions_comes_from_the_trainer(tmp_path: Path) -> None:
    memory = MemorySink()
    fit(lightning.pytorch, tmp_path, AlphaControlCallback("llr", every=1, sinks=[memory]), Recorder())
    assert [step for step, _ in memory.values] == [0, 1, 2, 3]  # 20 % of 16


def test_a_fast_dev_run_writes_nothing(tmp_path: Path) -> None:
    recorder = Recorder()
    fit(lightning.pytorch, tmp_path, AlphaControlCallback("tempbalance"), recorder, fast_dev_run=2)
    assert len(recorder.inside) == 2 and list(tmp_path.iterdir()) == []


def test_without_the_callback_nothing_changes(tmp_path: Path) -> None:
    plain, recorder = Recorder(), Recorder()
    _, one = fit(lightning.pytorch, tmp_path, None, plain)
    _, two = fit(lightning.pytorch, tmp_path, AlphaControlCallback("llr", every=99, low=1.0, high=1.0), recorder)
    assert recorder.inside == plain.inside and torch.equal(weights(one), weights(two))


def test_groups_that_are_not_split_end_the_run_before_its_first_step(tmp_path: Path) -> None:
    recorder = Recorder()
    module = module_class(lightning.pytorch, recorder, split=False)()
    run = trainer(lightning.pytorch, tmp_path, [AlphaControlCallback(**OPTIONS)], max_epochs=1)
    with pytest.raises(OptionError, match=r"group 0: expected the parameters of net.0, got those of 4 layers"):
        run.fit(module)
    assert recorder.inside == []


def test_an_error_in_a_batch_leaves_no_multiplied_value_in_the_checkpoint(tmp_path: Path) -> None:
    class Breaking(module_class(lightning.pytorch, Recorder())):  # type: ignore[misc]
        def training_step(self, batch: Any, index: int) -> Any:
            if index == 4:
                raise RuntimeError("out of memory")  # in the closure, within the optimizer's step
            return super().training_step(batch, index)

    module = Breaking()
    saving = lightning.pytorch.callbacks.OnExceptionCheckpoint(tmp_path)
    run = trainer(lightning.pytorch, tmp_path, [AlphaControlCallback("tempbalance"), saving], max_epochs=1)
    with pytest.raises(RuntimeError, match="out of memory"):
        run.fit(module)
    (file,) = tmp_path.glob("*.ckpt")
    groups = torch.load(file, weights_only=True)["optimizer_states"][0]["param_groups"]
    assert {round(group["lr"], 12) for group in groups} == {round(0.01 * 0.9**4, 12)}


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda callback: pickle.loads(pickle.dumps(callback))])
def test_copies_at_any_time(copied: Any, tmp_path: Path) -> None:
    class Copying(lightning.pytorch.Callback):
        def on_train_batch_end(self, *args: Any) -> None:
            assert copied(callback).multipliers == {} and callback.multipliers

    callback = AlphaControlCallback("tempbalance", every=5)
    run = trainer(lightning.pytorch, tmp_path, [callback, Copying()], max_epochs=1)
    run.fit(module_class(lightning.pytorch, Recorder())())
    assert copied(callback).rule == callback.rule


def test_a_decision_that_fails_is_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    callback = AlphaControlCallback("tempbalance", every=2)

    class Breaking(lightning.pytorch.Callback):
        def on_train_start(self, *args: Any) -> None:
            def fail(*args: Any, **kwargs: Any) -> Any:
                raise RuntimeError("no memory")

            monkeypatch.setattr("alpha_callbacks.control.layerwise_control.module_inventory", fail)

    recorder = Recorder()
    run = trainer(lightning.pytorch, tmp_path, [callback, Breaking()], max_epochs=1)
    with caplog.at_level(logging.WARNING):
        run.fit(module_class(lightning.pytorch, recorder)())
    assert caplog.text.count("no memory") == 1 and len(recorder.inside) == 8
