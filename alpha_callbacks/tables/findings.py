"""Table -> findings in plain words."""

import math
from collections import Counter
from collections.abc import Iterable

import numpy as np

from alpha_callbacks.tables.number_text import rounded_up
from alpha_callbacks.tables.statistics import TOO_FEW
from alpha_callbacks.tables.table import SINGLE, SINGLE_ESTIMATED, Table
from alpha_callbacks.weights.stored_dtype import ADDED, CAST

# What the reason of a doubtful tail holds -> how a count of such reasons is told.
_DOUBTS = {
    "no plateau": "without a plateau of the Hill plot",
    "no power law": "too far from a power law",
    "stand apart": "with a few eigenvalues far above the rest",
    "beyond the edge": "within the edge of noise",
    "too small": "of too few eigenvalues",
    "is the bulk": "of most of the spectrum",
    "is all of": "that are all of the spectrum",
}
_PLAIN = {"float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "F64", "F32", "F16", "BF16"}


def one_by_one(values: Iterable[tuple[str, str]]) -> str:
    """Return the values of fewer than `TOO_FEW` layers as (name, text), and that they are no more than that.

    Examples:
        >>> one_by_one([("fc1", "0.92"), ("fc2", "1.02")])
        'fc1 (0.92), fc2 (1.02); 2 layers are too few to speak of a trend.'
    """
    texts = [f"{name} ({text})" for name, text in values]
    return f"{', '.join(texts)}; {len(texts)} layer{'s are' if len(texts) > 1 else ' is'} too few to speak of a trend."


def findings(table: Table) -> list[str]:
    """Return what was learned, a sentence each."""
    weights = table.weights
    about = [*_about_storage(weights), *_about_noise(weights), *_about_tails(weights)] if weights.layers else []
    return [*about, *_about_updates(table), *_about_failures(table)]


def _about_storage(table: Table) -> list[str]:
    """Say which precisions are the same by construction, which by proof, and how far the others moved."""
    lossless, sentences = [], []
    stored = sorted(
        {row.stored_dtype.partition(ADDED)[0] for row in table if row.ok}
    )  # what was refused was not read either
    cast = any(CAST in label for label in stored)
    origin = "cast" if cast else "stored"
    for name in table.precisions:
        rows = [layer[name] for layer in table.layers if layer[name].ok]
        methods = Counter(row.method for row in rows)
        estimated = any(row.solver == SINGLE_ESTIMATED for row in rows)
        if not rows:
            sentences.append(f"{name}: no layer has a usable alpha.")
        elif methods["lossless"] == len(rows):
            lossless.append(name)
        elif methods["bounded"] and methods["computed"] + methods["certified"] == 0:
            worst = max(row.alpha_error_bound for row in rows if row.method == "bounded")
            sentences.append(
                f"{name}: alpha differs from the {origin} weights by at most {rounded_up(worst, 2):.1e} in any layer "
                f"({'estimated by an earlier version' if estimated else 'proved bound'}, no second decomposition "
                "needed)."
            )
        elif name != table.reference:
            drifts = [abs(layer.drift(name, table.reference)) for layer in table.layers]
            worst = max((d for d in drifts if not math.isnan(d)), default=math.nan)
            unresolved = sum(not math.isnan(layer.drift_bound(name, table.reference)) for layer in table.layers)
            if not math.isnan(worst):
                sentences.append(f"{name}: alpha moves by up to {worst:.2g} from {table.reference}.")
            if unresolved and any(row.solver in (SINGLE, SINGLE_ESTIMATED) for row in rows):
                sentences.append(
                    f"{name}: in {unresolved} of {len(rows)} layers the drift is smaller than the "
                    f"{'error that an earlier version estimated' if estimated else 'proved error'} of --solver fast."
                )
            elif unresolved and methods["certified"]:
                sentences.append(
                    f"{name}: in {unresolved} of {len(rows)} layers the drift is below the bound that was proved."
                )
    if lossless:
        coded = [label for label in stored if label.partition(CAST)[0] not in _PLAIN]
        mixed = 0 < len(coded) < len(stored)
        what = "cast value" if cast else "stored or dequantized value" if mixed else "stored value"
        what = "dequantized value" if coded and not (cast or mixed) else what
        names = _join(lossless)
        identical = f"{names} are identical by construction" if len(lossless) > 1 else f"{names} is the {what} itself"
        read = f"; {_join(coded)} dequantized" if mixed else " and were dequantized" * bool(coded)
        sentences.insert(0, f"Weights are stored in {_join(stored)}{read}: {identical}.")
    return sentences


def _about_noise(table: Table) -> list[str]:
    ratios = [layer[table.reference].alpha_ratio for layer in table.layers if layer[table.reference].ok]
    if not ratios:
        return []
    if len(ratios) < TOO_FEW:
        names = [layer.first.layer_name for layer in table.layers if layer[table.reference].ok]
        return [
            f"alpha / alpha of pure noise: {one_by_one((n, f'{r:.2f}') for n, r in zip(names, ratios, strict=True))}"
        ]
    noisy = sum(ratio > 0.9 for ratio in ratios)
    return [
        f"alpha / alpha of pure noise: median {float(np.median(ratios)):.2f}; {noisy} of {len(ratios)} layers are "
        "within 10 % of noise (or above it)."
    ]


def _about_tails(table: Table) -> list[str]:
    """Say how many layers have a tail, and why the others are doubtful."""
    rows = [layer[table.reference] for layer in table.layers if layer[table.reference].tail]
    if not rows:
        return []
    counts = Counter(row.tail for row in rows)
    reasons = Counter(
        words for row in rows if row.tail == "doubtful" for short, words in _DOUBTS.items() if short in row.tail_reason
    )
    why = f" ({', '.join(f'{count} {words}' for words, count in reasons.most_common())})" if reasons else ""
    return [
        f"Tails: {counts['clear']} of {len(rows)} layers have a clear one, {counts['doubtful']} a doubtful one{why}, "
        f"{counts['none']} none (alpha like that of noise)."
    ]


def _about_updates(table: Table) -> list[str]:
    """Say what the updates have shown, apart from the weights, whose means they are no part of."""
    rows = [layer[table.reference] for layer in table.layers if layer.first.is_update]
    if not rows:
        return []
    alphas = [row.alpha for row in rows if row.ok]
    found = f"{len(alphas)} of {len(rows)} have an alpha at {table.reference}"
    middle = f", median {float(np.median(alphas)):.2f}" if alphas else ""
    counts = Counter(row.status for row in rows)
    beyond = counts["rank_deficient"]
    low = f"; {beyond} have too low a rank for this tail (their reasons name options that fit)" if beyond else ""
    return [f"Updates, in rows named (update): {found}{middle}{low}."]


def _about_failures(table: Table) -> list[str]:
    counts = Counter((row.status, row.precision) for row in table if not row.ok)
    return [
        f"{count} layers are {status} at {name}; their alpha is empty."
        if count > 1
        else f"1 layer is {status} at {name}; its alpha is empty."
        for (status, name), count in counts.items()
    ]


def _join(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
