"""The alerts of a training history, one sentence per rule."""

from collections.abc import Sequence
from itertools import groupby

from alpha_callbacks.comparison.run_history import RunHistory
from alpha_callbacks.tables.history_columns import RULE_SEPARATOR
from alpha_callbacks.tables.number_text import counted

_NAMED = 3  # layers in a sentence


def alert_findings(history: RunHistory) -> list[str]:
    """Return one sentence per rule that held somewhere: in which layers, since when, and until when."""
    held: dict[str, dict[str, list[int]]] = {}  # rule -> layer -> steps
    rows = history.frame[history.frame["alerts"] != ""]
    for step, layer, cell in zip(rows["step"], rows["layer_name"], rows["alerts"], strict=True):
        for rule in str(cell).split(RULE_SEPARATOR):
            held.setdefault(rule, {}).setdefault(str(layer), []).append(int(step))
    return [_sentence(rule, layers, history.steps) for rule, layers in held.items()]


def _sentence(rule: str, layers: dict[str, list[int]], steps: Sequence[int]) -> str:
    ranked = sorted(layers, key=lambda layer: layers[layer][0])
    named = ", ".join(f"{layer} ({_when(layers[layer], steps)})" for layer in ranked[:_NAMED])
    more = f" and {len(ranked) - _NAMED} more" if len(ranked) > _NAMED else ""
    return f"Alert {rule}: {counted(len(ranked), 'layer')}, {named}{more}."


def _when(held: Sequence[int], steps: Sequence[int]) -> str:
    """Return the spans of measured steps in which a rule held, in words.

    Examples:
        >>> _when([20, 30], [0, 10, 20, 30]), _when([0, 10, 30], [0, 10, 20, 30, 40]), _when([0], [0, 10])
        ('since step 20', 'at steps 0 to 10, 30', 'at step 0')
    """
    places = {step: place for place, step in enumerate(steps)}
    spans = [[step for _, step in group] for _, group in groupby(enumerate(held), lambda e: places[e[1]] - e[0])]
    if len(spans) == 1 and held[-1] == steps[-1]:
        return f"since step {held[0]}"
    texts = [str(span[0]) if len(span) == 1 else f"{span[0]} to {span[-1]}" for span in spans]
    word = "step" if len(held) == 1 else "steps"
    return f"at {word} {', '.join(texts if len(texts) <= _NAMED else [*texts[:_NAMED], '…'])}"
