"""The chart of plans: what is drawn, and that no text leaves the figure."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from alpha_callbacks.planning.plan_curve import KNEE, CurvePoint, plan_curve
from alpha_callbacks.planning.plan_curve_files import PlanScore
from alpha_callbacks.plots.plan_curve import plot_plan_curve
from tests.support.low_bit_tables import low_bit_table


def outside(figure: Figure) -> list[str]:
    figure.canvas.draw()
    width, height = figure.canvas.get_width_height()
    texts: list[Text] = [*figure.texts]  # not those of ticks, some of which are beyond the axes and not drawn
    for axes in figure.axes:
        texts += [*axes.texts, axes.xaxis.label, axes.yaxis.label]
        if (legend := axes.get_legend()) is not None:
            texts += legend.get_texts()
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    return [name for name, box in boxes if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1]


def test_two_panels_where_plans_were_measured() -> None:
    points = plan_curve(low_bit_table(precisions=("fp32", "fp8_e4m3", "int4_g32", "int3_g32")))
    names = ("uniform int3_g32", "uniform fp8_e4m3", "plan_4", "random 1")
    scores = [
        PlanScore(n, b, 0.1 / b, 0.001, 0, 0, 1, 1, "", "t", 9) for n, b in zip(names, (3.5, 8.1, 4, 4), strict=True)
    ]
    figure, axes = plot_plan_curve(points, chosen=[("4", 4.0), ("x" * 300, 6.0)], scores=scores)
    assert len(axes) == 2 and axes[0].get_xlim() == axes[1].get_xlim() and outside(figure) == []
    line = next(
        line for line in axes[0].lines if line.get_color() == "#0072b2" and len(np.asarray(line.get_xdata())) > 2
    )
    drawn = [
        p for p in points if p.policy == "measured" and p.mark in ("", KNEE) and p.error > 0 and p.average_bits < 8.6
    ]
    assert list(np.asarray(line.get_ydata())) == pytest.approx([p.error for p in drawn])


@pytest.mark.parametrize("points", [(), (CurvePoint("thresholds", 10.9, 1e9, float("nan")),)])
def test_nothing_measured_is_said(points: tuple[CurvePoint, ...]) -> None:
    figure, axes = plot_plan_curve(points)
    assert "no error was measured" in {text.get_text() for text in axes[0].texts} and outside(figure) == []
