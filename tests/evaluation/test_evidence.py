"""What the published evidence rests on, on real weights: only the facts that hold with room to spare.

It repeats a part of `python -m benchmarks.evidence` and takes minutes. It runs when asked for: `pytest -m evidence`.
"""

from dataclasses import dataclass
from pathlib import Path

import pytest

from alpha_callbacks.evaluation.evaluate import BASE, compare
from alpha_callbacks.evaluation.language_model import LanguageModel, load_language_model
from alpha_callbacks.tables.table import Table
from benchmarks import texts
from benchmarks.evidence import BUDGETS, FISHER, HIGHER, LOWER, MEASURED, Budget, plans_of, scan, sensitivities

pytest.importorskip("transformers")
pytestmark = pytest.mark.real


@dataclass(frozen=True)
class Measured:
    """SmolLM2, what a scan says of it, and its sensitivities."""

    model: LanguageModel
    table: Table
    fisher: dict[str, float]


@pytest.fixture(scope="module")
def measured(smollm2_folder: Path) -> Measured:
    formats = dict.fromkeys(name for budget in BUDGETS for name in (budget.low, budget.high))
    table = scan(smollm2_folder, ("fp32", *formats))
    model = load_language_model(smollm2_folder, dtype="fp32")
    return Measured(model, table, sensitivities(model, table))


@pytest.mark.evidence
@pytest.mark.parametrize("budget", BUDGETS, ids=lambda budget: budget.name)
def test_policies_beat_random_plans_at_equal_bits(budget: Budget, measured: Measured, news: Path) -> None:
    plans = plans_of(measured.table, budget, measured.fisher, random=4)
    random = [name for name in plans if name.startswith("random ")]
    judged = {name: plans[name] for name in (LOWER, HIGHER, MEASURED, FISHER, *random)}
    windows = measured.model.windows_of(texts.news(news).text, tokens=256)
    kl = {score.name: score.kl for score in compare(measured.model.model, judged, windows)}
    assert len(random) == 4
    assert kl[BASE] == 0
    assert all(kl[HIGHER] < value < kl[LOWER] for name, value in kl.items() if name not in (BASE, HIGHER, LOWER))
    assert kl[FISHER] < kl[MEASURED] < sum(kl[name] for name in random) / len(random)


def test_the_texts_share_nothing(news: Path) -> None:
    judged = texts.documentation().text + texts.news(news).text
    long = {line.strip() for line in texts.calibration().text.splitlines() if len(line.strip()) > 40}
    assert len(long) > 50
    assert not any(line in judged for line in long)
