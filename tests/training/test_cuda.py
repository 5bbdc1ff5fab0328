"""Training on a CUDA device: the rows are those of its weights, and the run is bit for bit the one without. -m cuda."""

import copy
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.sinks.sink import MemorySink
from alpha_callbacks.training.monitor import Monitor
from tests.support.lightning_runs import loader, module_class
from tests.training.test_monitor import expected

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
STEPS, EVERY = 30, 10


def trained(monitor: Monitor | None) -> tuple[list[float], nn.Module, list[nn.Module]]:
    """Train on the device; return the losses, the model, and copies of it at the logged steps."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(256, 512), nn.GELU(), nn.Linear(512, 256)).cuda()
    optimizer, losses, states = torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True), [], []
    for step in range(1, STEPS + 1):
        x = torch.randn(64, 256, device="cuda")
        loss = (model(x) - x.roll(1, 1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
        if monitor and step % EVERY == 0:
            states.append(copy.deepcopy(model).cpu())
            monitor.log(model, step)
    return [float(loss) for loss in losses], model, states


def bits(model: nn.Module) -> list[Tensor]:
    return [parameter.detach().cpu() for parameter in model.parameters()]


@pytest.fixture(autouse=True)
def _deterministic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("background", [False, True])
def test_a_loop_is_left_alone_and_its_rows_are_those_of_the_weights(
    device: str, background: bool, tmp_path: Path
) -> None:
    memory = MemorySink()
    options = AnalysisOptions(precisions=("fp32", "bf16", "int4"), device=device)
    with Monitor(options, output_dir=tmp_path, sinks=[memory], background=background) as monitor:
        losses, model, states = trained(monitor)
    plain, reference, _ = trained(None)
    assert losses == plain
    assert all(map(torch.equal, bits(model), bits(reference)))
    by_step = {snapshot.step: snapshot for snapshot in memory.snapshots}
    assert STEPS in by_step and (background or sorted(by_step) == [10, 20, 30])
    for step, snapshot in by_step.items():
        for row, other in zip(snapshot.table, expected(states[step // EVERY - 1], options=cpu(options)), strict=True):
            assert (row.layer_name, row.precision, row.status) == (other.layer_name, other.precision, other.status)
            assert row.alpha == pytest.approx(other.alpha, rel=1e-9)


def cpu(options: AnalysisOptions) -> AnalysisOptions:
    return AnalysisOptions(precisions=options.precisions)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_lightning_on_the_device(device: str, tmp_path: Path) -> None:
    pl: Any = pytest.importorskip("lightning.pytorch")
    from alpha_callbacks import AlphaHillCallback

    memory = MemorySink()
    weights = []
    for callbacks in ([AlphaHillCallback(device=device, sinks=[memory], output_dir=tmp_path)], []):
        module = module_class(pl)()
        trainer = pl.Trainer(
            accelerator="gpu", devices=1, max_epochs=2, default_root_dir=tmp_path, logger=False,
            enable_progress_bar=False, enable_model_summary=False, callbacks=callbacks,
        )  # fmt: skip
        trainer.fit(module, loader(3), loader(1))
        weights.append(bits(module))
    assert all(map(torch.equal, *weights))
    assert memory.snapshots and all(row.ok for row in memory.snapshots[-1].table)
