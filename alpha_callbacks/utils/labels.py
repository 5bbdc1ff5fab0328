"""Layer names -> labels that fit beside a row and still say which layer it is."""

from collections import Counter
from collections.abc import Sequence

_MOST = 32  # characters; the full name is shown too, in a table or as a tooltip
TILE = 24  # characters where a number stands beside the label
_FEWEST = 8  # characters of a segment; a shorter piece is not readable


def labels(names: Sequence[str], most: int = _MOST) -> list[str]:
    """Return distinct labels of layers, of at most `most` characters where that is possible.

    Where a name is too long, the segments that all names begin with are left out, then the middle of long segments;
    short ones, such as numbers, are what distinguishes layers. Labels that would be equal are cut less.

    Examples:
        >>> labels(["lm_head", "model.embed_tokens"])
        ['lm_head', 'model.embed_tokens']
        >>> labels(["net.stage0.projection_of_the_residual_stream", "net.stage1.head"])
        ['stage0.projecti…_residual_stream', 'stage1.head']
    """
    longest = max(map(len, names), default=0)
    if longest <= most:
        return list(names)
    paths = [name.split(".") for name in names]
    shared = _shared(paths)
    found = [_cut(path[shared:], most) for path in paths]
    return found if len(set(found)) == len(set(names)) or most > longest else labels(names, 2 * most)


def row_labels(names: Sequence[str], categories: Sequence[str], blocks: Sequence[int | None]) -> list[str]:
    """Return the labels of rows listed under their category: the block if no other row has it, else the name.

    Examples:
        >>> row_labels(["h.0.q", "h.1.q", "h.0.a.up", "h.0.b.up", "head"], list("qqmmh"), [0, 1, 0, 0, None])
        ['0', '1', 'h.0.a.up', 'h.0.b.up', 'head']
    """
    places = list(zip(categories, blocks, strict=True))
    count = Counter(places)
    named = [name for name, place in zip(names, places, strict=True) if place[1] is None or count[place] > 1]
    short = dict(zip(named, labels(named), strict=True))
    return [short.get(name, str(block)) for name, block in zip(names, blocks, strict=True)]


def _shared(paths: Sequence[Sequence[str]]) -> int:
    """Return how many segments all paths begin with, without their last ones; 0 for a single path."""
    together = zip(*(path[:-1] for path in paths), strict=False)
    differ = (i for i, parts in enumerate(together) if len(set(parts)) > 1)
    return next(differ, min(len(path) - 1 for path in paths)) if len(paths) > 1 else 0


def _cut(path: Sequence[str], most: int) -> str:
    for keep in range(most, _FEWEST - 1, -1):
        text = ".".join(middle_out(part, keep) for part in path)
        if len(text) <= most:
            return text
    return middle_out(".".join(path), most)


def middle_out(text: str, most: int) -> str:
    """Return the two ends of a text, more of the last one: that is where names differ.

    Examples:
        >>> middle_out("model.layers.10.mlp", 10)
        'mod…10.mlp'
    """
    head = most // 3
    return text if len(text) <= most else f"{text[:head]}…{text[len(text) - (most - 1 - head) :]}"


def some_names(names: Sequence[str]) -> str:
    """Return a sentence with up to three names that exist, for a message about one that does not.

    Examples:
        >>> some_names(["a.0", "a.1", "a.2", "a.3", "b"])
        'Names are for example a.0, a.2, b.'
    """
    picked = dict.fromkeys(names[i] for i in (0, len(names) // 2, -1)) if names else {}
    return f"Names are for example {', '.join(picked)}." if len(names) > 3 else f"Names are {', '.join(names)}."
