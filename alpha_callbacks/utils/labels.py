"""Layer names -> labels that fit beside a row and still say which layer it is."""

from collections import Counter
from collections.abc import Sequence

_MOST = 32  # characters; whoever shows a label shows the full name too: in a table, or where the pointer rests
TILE = 24  # the same for a tile that shows a number too
_FEWEST = 8  # of a segment; cut shorter, it is no word any more


def labels(names: Sequence[str], most: int = _MOST) -> list[str]:
    """Return labels of layers, no two of them alike, of at most `most` characters where that is possible.

    Where a name is too long, the segments that all names begin with are left out, then the middle of long segments:
    short ones, such as numbers, are what tells layers apart. What would read like another one stays longer.

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
    """Return what rows are called that stand under their category: the block where no other row has it, else the name.

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
    """Return how many segments all paths begin with; the last one of a path never counts, nor does a lone path."""
    together = zip(*(path[:-1] for path in paths), strict=False)
    differ = (i for i, parts in enumerate(together) if len(set(parts)) > 1)
    return next(differ, min(len(path) - 1 for path in paths)) if len(paths) > 1 else 0


def _cut(path: Sequence[str], most: int) -> str:
    for keep in range(most, _FEWEST - 1, -1):
        text = ".".join(_middle_out(part, keep) for part in path)
        if len(text) <= most:
            return text
    return _middle_out(".".join(path), most)


def _middle_out(text: str, most: int) -> str:
    """Return the ends of a text, the end longer: that is where names differ."""
    head = most // 3
    return text if len(text) <= most else f"{text[:head]}…{text[len(text) - (most - 1 - head) :]}"
