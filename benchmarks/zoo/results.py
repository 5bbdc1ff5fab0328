"""What was found of the architectures: a table of one line each, and their totals."""

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.zoo.agreement import Agreement
from benchmarks.zoo.exceptions import EXCEPTIONS

RESULTS = Path(__file__).parents[1] / "results"
TABLE, TOTALS = RESULTS / "zoo.csv", RESULTS / "zoo.txt"
COLUMNS = (
    "architecture", "model", "live", "file", "same_names", "same_alphas", "read_back", "other", "unknown",
    "multiplied", "not_multiplied", "reason",
)  # fmt: skip

# Each kind of storage that families.py knows, small, and quick to build: what the tests repeat.
SUBSET = (
    "llama", "mixtral", "qwen3_moe", "qwen3_next", "gemma3", "phi3", "gpt2", "gpt_neox", "gpt_oss-square", "bloom",
    "falcon-40b", "gemma3n_text", "jetmoe", "deepseek_v3", "llama4_text", "dbrx", "granitemoe", "jamba", "aria_text",
    "rwkv", "t5", "xlnet", "bert", "wav2vec2", "vit",
)  # fmt: skip


def line_of(found: Agreement) -> str:
    """Return one architecture as a line of text."""
    if not found.built:
        return f"{found.architecture:28.28} {found.reason}"
    verdict = "identical" if found.identical else _reason(found)
    verdict += "" if found.read_back == "same" else f"; read back: {found.read_back}"
    return (
        f"{found.architecture:28.28} live {found.live:4} file {found.file:4} names {found.same_names:4} "
        f"alphas {found.same_alphas:4} other {found.other:3} unknown {found.unknown:2} "
        f"multiplied {found.multiplied:4} not {found.not_multiplied:2}  {verdict}"
    )


def cells_of(found: Agreement) -> dict[str, str]:
    """Return one architecture as a line of the committed table."""
    cells = {column: str(getattr(found, column)) for column in COLUMNS}
    return cells | {"reason": _reason(found)}


def read() -> dict[str, dict[str, str]]:
    """Return the committed table: architecture -> its line."""
    if not TABLE.exists():
        return {}
    with TABLE.open(newline="") as file:
        return {line["architecture"]: line for line in csv.DictReader(file)}


def write(found: Sequence[Agreement]) -> None:
    """Replace the lines of these architectures in the committed table."""
    lines = read() | {one.architecture: cells_of(one) for one in found}
    with TABLE.open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(lines[architecture] for architecture in sorted(lines))


def totals(found: Sequence[Agreement]) -> str:
    """Return what all architectures together show, as text."""
    built = [one for one in found if one.built]
    apart = [one for one in built if not one.identical]
    ran = [one for one in built if one.multiplied or one.not_multiplied]
    rows, others = sum(one.file for one in built), sum(one.other for one in built)
    again = [one for one in built if one.read_back != "same"]
    last = Counter(_last_name(name) for one in built for name in one.other_names)
    return "\n".join(
        [
            f"{len(found)} architectures, {len(built)} built, {rows} rows in their files",
            f"identical names, rows and alphas: {len(built) - len(apart)}; exceptions: {len(apart)}",
            *(f"    {count:4}  {reason}" for reason, count in Counter(map(_reason, apart)).most_common()),
            f"the same names once `from_pretrained` has read the file: {len(built) - len(again)}; others: {len(again)}",
            *(f"    {one.architecture}: {one.read_back}" for one in again),
            f"held against a forward pass: {len(ran)} architectures; it multiplied with "
            f"{sum(one.multiplied for one in ran)} matrices as the scan reads them, and not with "
            f"{sum(one.not_multiplied for one in ran)} of layers that ran",
            f"architectures without any of the latter: {sum(not one.not_multiplied for one in ran)}",
            f"tensors of two or more dimensions that no rule recognises: {sum(one.unknown for one in built)}",
            f"rows in `other`: {others}; the most common names:",
            *(f"    {count:4}  {name}" for name, count in last.most_common(10)),
            f"not built: {len(found) - len(built)}",
            *(f"    {n:4}  {why}" for why, n in Counter(one.reason for one in found if not one.built).most_common()),
        ]
    )


def _reason(found: Agreement) -> str:
    """Return why the rows differ, or why there are none or no forward pass."""
    if found.identical or not found.built:
        return found.reason
    return EXCEPTIONS.get(found.architecture, "no reason is known")


def _last_name(layer: str) -> str:
    return next((part for part in reversed(layer.split(".")) if not part.isdigit()), layer)
