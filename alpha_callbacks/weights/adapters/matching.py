"""Module paths of an adapter or a tuned model -> those of its base, where prefixes or separators differ."""

from collections.abc import Iterable

from alpha_callbacks.weights.adapters.names import flattened

_DROPPED = 2  # leading segments that one side may have and the other not: "model.", "language_model.model."


def matches(names: Iterable[str], base: Iterable[str]) -> dict[str, str]:
    """Return name -> name in the base, of those that have exactly one.

    A name is itself where the base has it. Else up to two leading segments may be missing on either side, and last
    dots may be underscores (kohya's names).

    Examples:
        >>> matches(["layers.0.q_proj", "unet.up.0.to_q"], ["model.layers.0.q_proj", "up_0.to_q"])
        {'layers.0.q_proj': 'model.layers.0.q_proj', 'unet.up.0.to_q': 'up_0.to_q'}
    """
    listed = list(base)
    exact = set(listed)
    found, ends = {}, [_by_end(listed, flat=False), _by_end(listed, flat=True)]
    for name in names:
        if name in exact:
            found[name] = name
            continue
        for flat, by_end in enumerate(ends):
            candidates = next((by_end[end] for end in _ends(name, bool(flat)) if end in by_end), set())
            if len(candidates) == 1:
                found[name] = next(iter(candidates))
                break
    return found


def _by_end(names: Iterable[str], *, flat: bool) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name in names:
        for end in _ends(name, flat):
            found.setdefault(end, set()).add(name)
    return found


def _ends(name: str, flat: bool) -> list[str]:
    """Return a path without its first 0, 1 and 2 segments; never a last segment alone."""
    path = name.split(".")
    ends = [".".join(path[start:]) for start in range(_DROPPED + 1) if len(path) - start > 1 or start == 0]
    return [flattened(end) for end in ends] if flat else ends
