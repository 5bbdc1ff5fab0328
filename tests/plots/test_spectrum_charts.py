"""The charts of a spectrum: what they draw is what the estimator and the law say."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes

from alpha_callbacks import LayerRows, Table, hill_alpha, open_spectra, plot_esd, plot_heatmap, plot_hill, plot_layer
from alpha_callbacks.errors import SpectrumError
from alpha_callbacks.estimators.marchenko_pastur import alpha_null
from alpha_callbacks.plots import save
from tests.conftest import heavy
from tests.support.chart_tables import words
from tests.support.example_scans import example
from tests.support.pages import NASTY
from tests.support.rows import row

EVALS = torch.linalg.svdvals(heavy(300, 200, alpha=2.5).double()) ** 2


def line(axes: Axes, label: str) -> tuple[np.ndarray, np.ndarray]:
    (found,) = [line for line in axes.lines if str(line.get_label()).startswith(label)]
    return np.asarray(found.get_xdata()), np.asarray(found.get_ydata())


def test_the_tail_of_esd_is_the_fit() -> None:
    _, axes = plot_esd(EVALS, k=20, shape=(300, 200))
    fit = hill_alpha(EVALS, k=20)
    x, y = line(axes, "tail")
    assert x[0] == pytest.approx(fit.x_min) and x[-1] == pytest.approx(float(EVALS[0]))
    slope = np.polyfit(np.log(x), np.log(y), 1)[0]
    assert slope == pytest.approx(-fit.alpha)
    assert float(np.trapezoid(y, x)) < 20 / 200 < 1.3 * float(np.trapezoid(y, x)), "the share of the tail"
    assert line(axes, "x_min")[0][0] == fit.x_min
    assert axes.get_xscale() == axes.get_yscale() == "log"


def test_noise_of_esd_integrates_to_one() -> None:
    _, axes = plot_esd(EVALS, shape=(600, 200))
    x, y = line(axes, "noise")
    assert float(np.trapezoid(y, x)) == pytest.approx(1, abs=0.01)
    assert not [one for one in plot_esd(EVALS)[1].lines if "noise" in str(one.get_label())]


def test_hill_marks_the_size_used_and_says_what_the_band_is() -> None:
    _, axes = plot_hill(EVALS, k=20, shape=(300, 200))
    fit = hill_alpha(EVALS, k=20)
    assert [float(values[0]) for values in line(axes, "used: k = 20")] == [20, pytest.approx(fit.alpha)]
    x, y = line(axes, "alpha")
    assert y[list(x).index(20)] == pytest.approx(fit.alpha)
    x, y = line(axes, "noise")
    assert y[list(x).index(20)] == pytest.approx(alpha_null(300, 200, 20))
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert "± 1.96 spreads" in labels


def test_a_row_gives_shape_size_and_title(tmp_path: Path) -> None:
    table, spectra = example(tmp_path), open_spectra(tmp_path)
    layer = table.layers[0]
    for plot in (plot_esd, plot_hill):
        figure, axes = plot(spectra[layer.first.layer_name]["int8"], layer["int8"])
        words = " ".join(text.get_text() for text in figure.texts)
        assert f"{layer.first.layer_name}, int8" in words and "k = 12 of n = 128" in words and "128 × 128" in words
        assert f"alpha = {layer['int8'].alpha:.5g}" in words and "noise (Marchenko-Pastur)" in str(
            [text.get_text() for text in axes.get_legend().get_texts()]
        )


def test_the_threshold_of_the_row() -> None:
    one = row("a", "fp32", 2.0, k_used=20, n_eigs=200, threshold="last", out_features=300, in_features=200)
    x, y = line(plot_hill(EVALS, one)[1], "used")
    assert y[0] == pytest.approx(hill_alpha(EVALS, k=20, threshold="last").alpha)


@pytest.mark.parametrize("plot", [plot_esd, plot_hill])
@pytest.mark.parametrize(
    "evals", [np.ones(5), np.array([3.0, 0.0]), np.concatenate([np.arange(1.0, 30), np.zeros(90)]), np.zeros(4)]
)
def test_spectra_without_a_tail_are_drawn(plot: Any, evals: np.ndarray, tmp_path: Path) -> None:
    figure, _ = plot(evals, shape=(len(evals), 200), title=f"$x$ {NASTY}")
    (path,) = save(figure, tmp_path / "x")
    assert path.stat().st_size > 3000
    if len(evals) < 100:
        assert "no alpha" in " ".join(text.get_text() for text in figure.texts)


@pytest.mark.parametrize("plot", [plot_esd, plot_hill])
@pytest.mark.parametrize("evals", [[], [1.0], [1.0, -1.0], [1.0, float("nan")]])
def test_what_is_no_spectrum(plot: Any, evals: list[float]) -> None:
    with pytest.raises(SpectrumError, match="expected two or more eigenvalues"):
        plot(torch.tensor(evals))
    with pytest.raises(SpectrumError, match="k"):
        plot(torch.tensor([2.0, 1.0]), k=2)


def test_a_layer_alone_and_its_error_on_the_map() -> None:
    rows = tuple(
        row("layers.0.fc1", name, 2.0, relative_error=error) for name, error in (("fp32", 0.0), ("nf4", 0.0934))
    )
    _, (alpha, _) = plot_layer(LayerRows(rows))
    assert [text.get_text() for text in alpha.get_xticklabels()] == ["fp32", "nf4"]
    figure, (cells, bar) = plot_heatmap(Table((LayerRows(rows),), ("fp32", "nf4"), "my-model"), "relative_error")
    assert "9.34%" in words(cells)
    assert "relative error of the weights, nf4  ·  my-model" in [text.get_text() for text in figure.texts]
    assert bar.get_ylabel() == "‖W − Q(W)‖ / ‖W‖"
