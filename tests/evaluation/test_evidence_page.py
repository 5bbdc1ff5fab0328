"""docs/evidence.md prints what benchmarks/evidence.py measured."""

import csv
import re

from tests.conftest import REPOSITORY

CELLS = (("3/4 bit", "docs"), ("3/4 bit", "news"), ("4/8 bit", "docs"), ("4/8 bit", "news"))


def test_the_table_is_the_committed_output() -> None:
    with (REPOSITORY / "benchmarks/results/evidence.csv").open(encoding="utf-8", newline="") as file:
        measured = {(row["budget"], row["text"], row["policy"]): row for row in csv.DictReader(file)}
    page = (REPOSITORY / "docs/evidence.md").read_text(encoding="utf-8")
    printed = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", page, re.MULTILINE)[1:]
    for name, *cells in printed:
        policy = re.sub(r"8 (|untied )random plans \(mean ± sd\)", r"\1random (mean and sd of 8)", name).replace(
            "→", "->"
        )
        for cell, text in zip(CELLS, cells, strict=True):
            row = measured.pop((*cell, policy), None)
            expected = "–" if row is None else f"{float(row['kl']):.3f} ± {float(row['spread']):.3f}"
            assert text == expected, (name, cell)
    assert {policy for _, _, policy in measured} == {"base"}


def test_what_the_page_claims_of_the_table_holds() -> None:
    with (REPOSITORY / "benchmarks/results/evidence.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for cell in CELLS:
        of_cell = [row for row in rows if (row["budget"], row["text"]) == cell]
        kl, spread = ({row["policy"]: float(row[name]) for row in of_cell} for name in ("kl", "spread"))
        random, untied = kl["random (mean and sd of 8)"], "untied random (mean and sd of 8)"
        low, high = (kl[f"{which} alpha -> more bits, untied"] for which in ("low", "high"))
        assert kl["all higher"] < kl["fisher"] < kl["measured"] < random < kl["all lower"]
        assert kl["high alpha -> more bits"] > 0.99 * random and kl["low alpha -> more bits"] < random
        if cell[0] == "3/4 bit":
            assert kl["AlphaQ cost, gamma 1"] < kl["measured"]
            assert kl["fisher, 16 bits allowed"] > kl["fisher"]
            assert low < kl[untied] and abs(high - kl[untied]) < spread[untied]
        else:
            assert high < kl[untied] < low


def test_the_paired_costs_are_the_committed_output() -> None:
    with (REPOSITORY / "benchmarks/results/costs.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    page = (REPOSITORY / "docs/evidence.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| (.+) \| [\d.]+ and [\d.]+ \|$", page, re.MULTILINE)
    costs = ("measured", "fisher", "sampled", "activations", "channels")
    assert len(lines) == len(costs)
    for cost, line in zip(costs, lines, strict=True):
        for cell, text in zip(CELLS, line.split(" | ")[1:], strict=True):
            row = next(row for row in rows if (row["budget"], row["text"], row["cost"]) == (*cell, cost))
            difference, low, high = (float(row[name]) for name in ("difference", "low", "high"))
            known = f"{float(row['kl']):.4f}"
            assert text == (known if cost == "fisher" else f"{known}, {difference:+.4f} [{low:+.4f}, {high:+.4f}]")
