"""A comparison -> what was learned, one sentence per finding.

There are no p-values: the layers of one network are not independent draws.
"""

import math

from alpha_callbacks.comparison.name_mismatch import describe_mismatch
from alpha_callbacks.comparison.paired_layers import Pair, PairedLayers
from alpha_callbacks.comparison.paired_statistics import DeltaSummary, by_category, movers, summarize_deltas
from alpha_callbacks.tables.findings import one_by_one
from alpha_callbacks.tables.number_text import counted, rank_text, signed

_SHAPES, _LOST = "of different shapes", "without alpha"
_LARGE = 0.1  # a shift of at least this share of the spread between layers is called a move of levels


def comparison_findings(comparison: PairedLayers) -> list[str]:
    """Return the findings, the most important first."""
    whole = summarize_deltas(comparison.pairs)
    if not whole.count:
        return _nothing(comparison)
    if not whole.moves:
        told = f"{counted(whole.count, 'layer')} compared: alpha is the same in every layer, within its error bounds."
    elif whole.few:
        told = f"{counted(whole.count, 'layer')} compared: {one_by_one(map(_change, comparison.compared))}"
    else:
        told = _levels(whole)
    sentences = [
        told,
        _weights(comparison),
        _beyond_noise(comparison),
        _verdicts(comparison),
        _storage(comparison),
        _left_out(comparison),
    ]
    if not whole.few:
        sentences[2:2] = [_order(whole), _categories(comparison), _farthest(comparison)]
    return [sentence for sentence in sentences if sentence]


def _weights(comparison: PairedLayers) -> str:
    """Say how far the matrices themselves are apart, where they were read."""
    errors = sorted((p.relative_error, p.row.layer_name) for p in comparison.pairs if not math.isnan(p.relative_error))
    if not errors:
        return ""
    median, (worst, layer) = errors[len(errors) // 2][0], errors[-1]
    if not worst:
        return f"The weights are the same in {counted(len(errors), 'layer')}."
    return (
        f"The weights themselves differ by {median:.3g} in the median layer (relative error in the Frobenius norm), by "
        f"{worst:.3g} at most ({layer})."
    )


def left_out_kinds(comparison: PairedLayers) -> dict[str, list[Pair]]:
    """Return the layers that are not compared, grouped by the obstacle, the most frequent one first."""
    kinds: dict[str, list[Pair]] = {}
    for pair in comparison.left_out:
        kinds.setdefault(pair.reason if pair.side != "both" else _kind(pair), []).append(pair)
    return dict(sorted(kinds.items(), key=lambda entry: -len(entry[1])))


def nothing_text(comparison: PairedLayers) -> str:
    """Return a text that nothing could be compared, with the number of layers per obstacle."""
    return f"Nothing could be compared: {_counts(comparison)}"


def _nothing(comparison: PairedLayers) -> list[str]:
    """Say why nothing could be compared, with an example of each obstacle and what to do about it."""
    told = [f"{nothing_text(comparison)}."]
    kinds = left_out_kinds(comparison)
    sides = [[pair.row.layer_name for pair in comparison.left_out if pair.side == side] for side in "ab"]
    if all(sides):
        told.append(f"Names do not agree, {describe_mismatch(sides[0], sides[1], comparison.labels)}.")
    if _SHAPES in kinds:
        pair = kinds[_SHAPES][0]
        told.append(f"{pair.row.layer_name}: {pair.reason}. Compare two states of one architecture.")
    if _LOST in kinds:
        pair = kinds[_LOST][0]
        told.append(f"{pair.row.layer_name}: {pair.reason}. Fix this problem and rescan that side.")
    return told


def _kind(pair: Pair) -> str:
    return _SHAPES if pair.reason.startswith("different shapes") else _LOST


def _counts(comparison: PairedLayers) -> str:
    return ", ".join(f"{len(pairs)} {kind}" for kind, pairs in left_out_kinds(comparison).items()) or "no layer at all"


def _change(pair: Pair) -> tuple[str, str]:
    """Return the name of a layer, and how its alpha changed."""
    delta = f", {signed(pair.delta)}" if pair.resolved else ", no resolved change"
    return pair.row.layer_name, _both(pair) + delta


def _levels(whole: DeltaSummary) -> str:
    low, middle, high = (signed(q) for q in (whole.q25, whole.median, whole.q75))
    sentence = (
        f"{counted(whole.count, 'layer')} compared: the median change of alpha is {middle} (half of the layers lie "
        f"between {low} and {high}); {whole.rises} rise, {whole.falls} fall"
    )
    sentence += (
        f", {whole.unmoved} {'does' if whole.unmoved == 1 else 'do'} not change within the error bounds of alpha."
        if whole.unmoved
        else "."
    )
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
    ratio = "" if math.isnan(whole.spearman_ratio) else f", {rank_text(whole.spearman_ratio)} for alpha / noise"
    return f"Rank correlation of the layers: {rank_text(whole.spearman_alpha)} for alpha{ratio}."


def _categories(comparison: PairedLayers) -> str:
    groups = [group for group in by_category(comparison) if group.moves and group.count > 1]  # one is no category
    if len(groups) < 2:
        return ""
    groups.sort(key=lambda group: -group.median_abs)
    most, least = groups[0], groups[-1]
    return (
        f"By category, {most.layers} changes most (median |change| {most.median_abs:.2g}, "
        f"{counted(most.count, 'layer')}) and {least.layers} least ({least.median_abs:.2g}, "
        f"{counted(least.count, 'layer')})."
    )


def _farthest(comparison: PairedLayers) -> str:
    top = movers(comparison, 1)
    if not top:
        return ""
    return f"Largest change: {top[0].row.layer_name}, {_both(top[0])} ({signed(top[0].delta)})."


def _both(pair: Pair) -> str:
    return " to ".join(f"{getattr(row, 'alpha', math.nan):.4f}" for row in (pair.a, pair.b))


def _beyond_noise(comparison: PairedLayers) -> str:
    """Say how many changes are larger than what other noise in the matrices would make."""
    known = [pair for pair in comparison.compared if math.isfinite(pair.spread)]
    if not known or not any(pair.resolved for pair in known):
        return ""
    moved = sum(pair.moved for pair in known)
    return (
        f"{moved} of {counted(len(known), 'layer')} moved: alpha changes by more than 1.96 times the spread that new "
        "noise in both matrices would give it. Smaller changes are exact, but other noise would make them too."
    )


def _verdicts(comparison: PairedLayers) -> str:
    """Say where a tail appeared or went."""
    judged = [(pair.a.tail, pair.b.tail) for pair in comparison.compared if pair.a and pair.b]
    if not all(a and b for a, b in judged) or all(a == b for a, b in judged):
        return ""
    came, gone = (sum((one == "clear", other == "clear") == both for one, other in judged)
                  for both in ((False, True), (True, False)))  # fmt: skip
    return (
        f"Verdicts on the tails differ in {sum(a != b for a, b in judged)}: {came} became clear, {gone} no longer are."
    )


def _storage(comparison: PairedLayers) -> str:
    found = [
        ", ".join(sorted({row.stored_dtype for row in rows if row is not None and row.stored_dtype}))
        for rows in ([pair.a for pair in comparison.compared], [pair.b for pair in comparison.compared])
    ]
    if found[0] == found[1]:
        return ""
    named = (f"{label} in {stored or 'unknown'}" for label, stored in zip(comparison.labels, found, strict=True))
    return f"Weights are stored differently: {', '.join(named)}."


def _left_out(comparison: PairedLayers) -> str:
    if not comparison.left_out:
        return ""
    return f"Not compared: {_counts(comparison)}. The table gives the reason for each; the numbers exclude them."


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 1 else f"{100 * share:.0f} %"
