"""Two sets of layer names with nothing in common -> an example of each, and what to do."""

from collections import Counter
from collections.abc import Sequence


def describe_mismatch(first: Sequence[str], second: Sequence[str], labels: tuple[str, str]) -> str:
    """Return an example of each side and, where only a prefix differs, how to remove it.

    Examples:
        >>> describe_mismatch(["fc1", "fc2"], ["net.fc1", "net.fc2"], ("A", "B"))
        "such as fc1 in A and net.fc1 in B, which differ by the prefix 'net.': save one side with the other's names"
        >>> describe_mismatch(["fc1"], [], ("A", "B"))
        'such as fc1 in A and no layer in B'
    """
    prefix, longer = max(
        ((_prefix(*sides), sides[1]) for sides in ((second, first), (first, second))), key=lambda e: e[0]
    )
    examples = [next(iter(names), "no layer") for names in (first, second)]
    told = ""
    if prefix:
        bare = set(first if longer is second else second)
        full = next(name for name in longer if name.startswith(prefix) and name.removeprefix(prefix) in bare)
        short = full.removeprefix(prefix)
        examples = [short, full] if longer is second else [full, short]
        told = f", which differ by the prefix {prefix!r}: save one side with the other's names"
    both = " and ".join(f"{name} in {label}" for name, label in zip(examples, labels, strict=True))
    return f"such as {both}{told}"


def _prefix(names: Sequence[str], longer: Sequence[str]) -> str:
    """Return the prefix that at least half of the names have in the other list, "" if there is none."""
    known = set(names)
    found = Counter(
        name[: at + 1] for name in longer for at, mark in enumerate(name) if mark == "." and name[at + 1 :] in known
    )
    prefix, count = next(iter(found.most_common(1)), ("", 0))
    return prefix if 2 * count >= min(len(names), len(longer)) else ""
