"""Counts what is really analysed in a training run."""

from typing import Any

import pytest

from alpha_callbacks.analysis.parallel import analyze_weights
from alpha_callbacks.training import measurer


def count_analyses(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that collects the names of layers as they are analysed."""
    seen: list[str] = []

    def analyze(weights: Any, *args: Any, **kwargs: Any) -> Any:
        seen.extend(w.layer_name for w in weights)
        return analyze_weights(weights, *args, **kwargs)

    monkeypatch.setattr(measurer, "analyze_weights", analyze)
    return seen
