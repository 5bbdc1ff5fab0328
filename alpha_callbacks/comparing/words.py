"""A comparison -> what was learned, a sentence each. No p-values: layers of one network are not independent draws."""

import math
from collections import Counter

from alpha_callbacks.comparing.comparison import Comparison
from alpha_callbacks.comparing.summary import DeltaSummary, by_category, movers, summarize_deltas

_LARGE = 0.1  # share of the spread between layers from which a shift is called one of levels


def comparison_findings(comparison: Comparison) -> list[str]:
    """Return the findings, the most important first."""
    whole = summarize_deltas(comparison.pairs)
    if not whole.count:
        return [f"No layer has an alpha on both sides, so nothing was compared. {_left_out(comparison)}".strip()]
    if not whole.moves:
        told = f"{_layers(whole.count)} compared: alpha is the same in every one, to within what is known of it."
    else:
        told = _levels(whole)
    sentences = [told, _order(whole), _categories(comparison), _farthest(comparison), _against_stderr(comparison)]
    return [sentence for sentence in (*sentences, _storage(comparison), _left_out(comparison)) if sentence]


def _levels(whole: DeltaSummary) -> str:
    sentence = (
        f"{_layers(whole.count)} compared: alpha changes by {whole.median:+.2g} in the median (half of the layers "
        f"between {whole.q25:+.2g} and {whole.q75:+.2g}); {whole.rises} rise, {whole.falls} fall"
    )
    sentence += f", {whole.unmoved} stay, to within what is known of alpha." if whole.unmoved else "."
    if whole.spread > 0:
        share = whole.median_abs / whole.spread
        what = "levels move" if share >= _LARGE else "levels barely move"
        sentence += (
            f" The median |change| is {_percent(share)} of the spread between layers (interquartile range "
            f"{whole.spread:.2g}): {what}."
        )
    return sentence


def _order(whole: DeltaSummary) -> str:
    if math.isnan(whole.spearman_alpha):
        return ""
    ratio = "" if math.isnan(whole.spearman_ratio) else f", {_rank(whole.spearman_ratio)} for alpha / noise"
    return f"Order of the layers: rank correlation {_rank(whole.spearman_alpha)} for alpha{ratio}."


def _categories(comparison: Comparison) -> str:
    groups = [group for group in by_category(comparison) if group.moves]
    if len(groups) < 2:
        return ""
    groups.sort(key=lambda group: -group.median_abs)
    most, least = groups[0], groups[-1]
    return (
        f"By category, {most.layers} moves most (median |change| {most.median_abs:.2g}, {_layers(most.count)}) and "
        f"{least.layers} least ({least.median_abs:.2g}, {_layers(least.count)})."
    )


def _farthest(comparison: Comparison) -> str:
    top = movers(comparison, 1)
    if not top:
        return ""
    return f"Farthest: {top[0].row.layer_name}, {_both(comparison, top[0].a, top[0].b)} ({top[0].delta:+.2g})."


def _both(comparison: Comparison, *rows: object) -> str:
    return " to ".join(f"{getattr(row, 'alpha', math.nan):.4f}" for row in rows)


def _against_stderr(comparison: Comparison) -> str:
    known = [pair for pair in comparison.compared if math.isfinite(pair.delta_in_stderr)]
    if not known or not any(pair.moved for pair in known):
        return ""
    beyond = sum(abs(pair.delta_in_stderr) > 1 for pair in known)
    return (
        f"{beyond} of {_layers(len(known))} move by more than the standard error of the fit, which is a guide for "
        "independent samples and wide for two states of one network."
    )


def _storage(comparison: Comparison) -> str:
    found = [
        ", ".join(sorted({row.stored_dtype for row in rows if row is not None and row.stored_dtype}))
        for rows in ([pair.a for pair in comparison.compared], [pair.b for pair in comparison.compared])
    ]
    if found[0] == found[1]:
        return ""
    named = (f"{label} in {stored or 'unknown'}" for label, stored in zip(comparison.labels, found, strict=True))
    return f"Weights are stored differently: {', '.join(named)}."


def _left_out(comparison: Comparison) -> str:
    if not comparison.left_out:
        return ""
    kinds = Counter(
        pair.reason if pair.side != "both" else "different shapes" if pair.reason.startswith("diff") else "no alpha"
        for pair in comparison.left_out
    )
    listed = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    return f"Not compared: {listed}. Each is in the table with its reason and takes no part in the numbers."


def _layers(count: int) -> str:
    return f"{count} layer" if count == 1 else f"{count} layers"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 1 else f"{100 * share:.0f} %"


def _rank(value: float) -> str:
    """Return a correlation that is never rounded up to 1.

    Examples:
        >>> _rank(1.0), _rank(0.99999), _rank(0.98)
        ('1', '0.9999', '0.9800')
    """
    return f"{math.trunc(value * 1e4) / 1e4:.4f}" if abs(value) < 1 else f"{value:.0f}"
