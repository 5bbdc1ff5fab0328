"""Table -> the findings of a report in words, and the layers that stand out."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from alpha_callbacks.report.columns import row_of, usable
from alpha_callbacks.report.page_shell import Tile
from alpha_callbacks.tables.findings import findings
from alpha_callbacks.tables.low_bit import low_bit
from alpha_callbacks.tables.number_text import for_page, signed
from alpha_callbacks.tables.statistics import TOO_FEW
from alpha_callbacks.tables.table import LayerRows, Row, Table
from alpha_callbacks.tables.vocabulary import METRICS

_FEW = 4


@dataclass(frozen=True)
class Standout:
    """A layer that stands out, its number, and the precision of that number."""

    layer_name: str
    figure: str
    precision: str


@dataclass(frozen=True)
class Standouts:
    """The first layers of a ranking."""

    title: str
    entries: tuple[Standout, ...]


def sentences(table: Table) -> list[str]:
    """Return one sentence per finding: about formats below 16 bits, those of the command, about categories."""
    return [*_about_formats(table), *findings(table), *_about_categories(table)]


def tiles(table: Table) -> list[Tile]:
    """Return the numbers at the top of the page."""
    ratios = [value for _, value in usable(table, table.reference, lambda row: row.alpha_ratio)]
    alphas = table.alphas(table.reference)
    weights = sum(layer.first.out_features * layer.first.in_features for layer in table.layers)
    lost = len({row.layer_name for row in table if not row.ok})
    found = [Tile(f"{len(table):,}", f"matrices, {_scaled(weights)} weights")]
    if ratios:
        noisy = sum(ratio > 0.9 for ratio in ratios)
        median = "median " if len(ratios) >= TOO_FEW else ""
        found += [
            Tile(middle(alphas, "{:.3f}".format), f"{median}alpha at {table.reference}"),
            Tile(middle(ratios, "{:.2f}".format), f"{median}alpha / alpha of noise (1 = no tail)"),
            Tile(f"{noisy:,}", "layers within 10 % of noise, or above it", noisy > 0),
        ]
    return [*found, Tile(f"{lost:,}", "layers with a precision without alpha", lost > 0)]


def standouts(table: Table) -> list[Standouts]:
    """Return the layers to look at first."""
    reference = table.reference
    found: list[Standouts] = []
    if low := low_bit(table):
        worst = sorted(usable(table, low[-1], lambda row: row.relative_error), key=lambda entry: -entry[1])
        found.append(Standouts(f"Largest relative error at {low[-1]}", _of(worst[:_FEW], low[-1], "{:.2%}")))
    ratios = sorted(usable(table, reference, lambda row: row.alpha_ratio), key=lambda entry: entry[1])
    clear = [entry for entry in ratios if row_of(entry[0], reference).tail in ("clear", "")]
    if len(ratios) < TOO_FEW:  # two lists would hold the same layers
        found.append(
            Standouts("Tails relative to their shape, heaviest first", _of(ratios, reference, "{:.3f} of noise"))
        )
    else:
        found += [
            Standouts("Heaviest clear tails relative to their shape", _of(clear[:_FEW], reference, "{:.3f} of noise")),
            Standouts("Closest to noise", _of(ratios[: -_FEW - 1 : -1], reference, "{:.3f} of noise")),
        ]
    drifts = [
        Standout(layer.first.layer_name, signed_text(drift), name) for layer, name, drift in table.most_drifted(_FEW)
    ]
    found.append(Standouts(f"Largest drift of alpha from {reference}", tuple(drifts)))
    return [group for group in found if group.entries]


def middle(values: Sequence[float], text: Callable[[float], str]) -> str:
    """Return the median as text, or the smallest and the largest of a few values.

    Examples:
        >>> middle([2.0, 3.0], "{:.1f}".format), middle([2.0], "{:.1f}".format), middle([2.0] * 9, "{:.1f}".format)
        ('2.0 to 3.0', '2.0', '2.0')
    """
    if len(values) >= TOO_FEW:
        return text(float(np.median(values)))
    return " to ".join(dict.fromkeys(text(end) for end in (min(values), max(values))))


def signed_text(number: float) -> str:
    """Return a change with its sign and three digits.

    Examples:
        >>> signed_text(-0.5746), signed_text(1.2e-5), signed_text(0.0), signed_text(math.nan)
        ('\N{MINUS SIGN}0.575', '+1.2e-05', '0', '–')
    """
    return for_page(signed(number, METRICS["drift"].digits))


def _of(entries: Sequence[tuple[LayerRows, float]], precision: str, text: str) -> tuple[Standout, ...]:
    return tuple(Standout(layer.first.layer_name, text.format(value), precision) for layer, value in entries)


def _about_categories(table: Table) -> list[str]:
    """Say which projections have the heaviest and the lightest tails."""
    medians = _medians(table, lambda row: row.alpha_ratio, table.reference)
    if len(medians) < 2 or len(table) < TOO_FEW:
        return []
    (first, low), *_, (last, high) = sorted(medians.items(), key=lambda entry: entry[1])
    if f"{low:.2f}" == f"{high:.2f}":
        return []
    return [f"Tails are heaviest in {first} (median {low:.2f} of noise) and lightest in {last} ({high:.2f})."]


def _about_formats(table: Table) -> list[str]:
    """Say what each low-bit format costs and where it costs most."""
    found = []
    for name in low_bit(table):
        errors = [value for _, value in usable(table, name, lambda row: row.relative_error)]
        if not errors:
            continue
        medians = _medians(table, lambda row: row.relative_error, name)
        worst = max(medians, key=lambda category: medians[category], default="")
        bits = float(np.median([value for _, value in usable(table, name, lambda row: row.effective_bits)]))
        few, size = len(errors) < TOO_FEW, middle(errors, "{:.2%}".format)
        where = f", most in {worst} ({medians[worst]:.2%})" if len(medians) > 1 and not few else ""
        found.append(
            f"{name} ({bits:.4g} bits per weight): rounding changes a weight matrix by {'' if few else 'a median of '}"
            f"{size} of its norm{where}."
        )
    return found


def _medians(table: Table, value: Callable[[Row], float], precision: str) -> dict[str, float]:
    """Return category -> median over its layers, for the categories that have several layers."""
    grouped: dict[str, list[float]] = {}
    for layer, number in usable(table, precision, value):
        grouped.setdefault(layer.first.group, []).append(number)
    return {category: float(np.median(numbers)) for category, numbers in grouped.items() if len(numbers) > 1}


def _scaled(number: float) -> str:
    """Return a count in millions or billions.

    Examples:
        >>> _scaled(8_030_000_000), _scaled(134_500_000), _scaled(900)
        ('8.03 billion', '134.5 million', '900')
    """
    for size, word in ((1e9, "billion"), (1e6, "million")):
        if number >= size:
            return f"{number / size:.4g} {word}"
    return f"{number:,.0f}"


def reasons_of(table: Table) -> list[tuple[str, str, list[str]]]:
    """Return (status, reason, "layer at precision" names) of every row without alpha, the most frequent first."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for layer in table.layers:
        for name in table.precisions:
            row = row_of(layer, name)
            if not row.ok or math.isnan(row.alpha):
                grouped.setdefault((row.status, row.reason), []).append(f"{row.layer_name} at {name}")
    return sorted(((*key, names) for key, names in grouped.items()), key=lambda entry: -len(entry[2]))
