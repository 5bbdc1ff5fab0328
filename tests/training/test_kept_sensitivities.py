"""What both callbacks leave of the optimizer when training ends."""

import csv
import logging
from pathlib import Path

import pytest
import torch

from alpha_callbacks.evaluation.trained_sensitivities import optimizer_sensitivities
from alpha_callbacks.planning.sensitivities_file import SENSITIVITIES


def lines(folder: Path) -> dict[str, float]:
    (file,) = folder.rglob(SENSITIVITIES)
    return {row["layer_name"]: float(row["sensitivity"]) for row in csv.DictReader(file.read_text().splitlines())}


def test_hugging_face(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from alpha_callbacks import AlphaHillTrainerCallback
    from tests.support import hf_runs

    options = {"every": "train_end", "precisions": "fp32", "images": False}
    plain, kept = (AlphaHillTrainerCallback(**options, sensitivities=wanted) for wanted in (False, True))
    without = hf_runs.trainer(tmp_path / "plain", [plain], save_strategy="no")
    without.train()
    assert not list((tmp_path / "plain").rglob(SENSITIVITIES))
    run = hf_runs.trainer(tmp_path / "kept", [kept], save_strategy="no")
    run.train()
    found = lines(tmp_path / "kept")
    expected = optimizer_sensitivities(run.model, [run.optimizer])
    assert found == {name: pytest.approx(value, rel=1e-6) for name, value in expected.items()} and len(found) >= 14
    pairs = zip(without.model.parameters(), run.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*num_workers.*")  # of Lightning, on machines of more than two cores
def test_lightning_with_an_optimizer_that_keeps_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pl = pytest.importorskip("lightning.pytorch")
    from alpha_callbacks import AlphaHillCallback
    from tests.support import lightning_runs

    class Adam(lightning_runs.module_class(pl)):  # type: ignore[misc]
        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters())

    for name, make in (("sgd", lightning_runs.module_class(pl)), ("adam", Adam)):
        callback = AlphaHillCallback(every="train_end", precisions="fp32", images=False, sensitivities=True)
        run = lightning_runs.trainer(pl, tmp_path / name, [callback])
        with caplog.at_level(logging.WARNING):
            run.fit(make(), lightning_runs.loader(2), lightning_runs.loader(1))
    assert list(lines(tmp_path / "adam")) == ["net.0", "net.2"] and not list((tmp_path / "sgd").rglob(SENSITIVITIES))
    assert caplog.text.count("no sensitivities.csv: sensitivities: expected an optimizer with mean squares") == 1
