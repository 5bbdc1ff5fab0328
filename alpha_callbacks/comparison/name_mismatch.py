"""Two sets of layer names with nothing in common -> what they look like, and what to do."""

from collections import Counter
from collections.abc import Sequence


def unlike(ours: Sequence[str], theirs: Sequence[str], labels: tuple[str, str]) -> str:
    """Return an example of each side and, where a prefix makes the difference, how to get rid of it.

    Examples:
        >>> unlike(["fc1", "fc2"], ["net.fc1", "net.fc2"], ("A", "B"))
        "such as fc1 in A and net.fc1 in B, which differ by the prefix 'net.': save one side with the other's names"
        >>> unlike(["fc1"], [], ("A", "B"))
        'such as fc1 in A and no layer in B'
    """
    prefix, longer = max(
        ((_prefix(*sides), sides[1]) for sides in ((theirs, ours), (ours, theirs))), key=lambda e: e[0]
    )
    examples = [next(iter(names), "no layer") for names in (ours, theirs)]
    told = ""
    if prefix:
        bare = set(ours if longer is theirs else theirs)
        full = next(name for name in longer if name.startswith(prefix) and name.removeprefix(prefix) in bare)
        short = full.removeprefix(prefix)
        examples = [short, full] if longer is theirs else [full, short]
        told = f", which differ by the prefix {prefix!r}: save one side with the other's names"
    both = " and ".join(f"{name} in {label}" for name, label in zip(examples, labels, strict=True))
    return f"such as {both}{told}"


def _prefix(names: Sequence[str], longer: Sequence[str]) -> str:
    """Return what stands before at least half of the names in the other list, "" if nothing does."""
    known = set(names)
    found = Counter(
        name[: at + 1] for name in longer for at, mark in enumerate(name) if mark == "." and name[at + 1 :] in known
    )
    prefix, count = next(iter(found.most_common(1)), ("", 0))
    return prefix if 2 * count >= min(len(names), len(longer)) else ""
