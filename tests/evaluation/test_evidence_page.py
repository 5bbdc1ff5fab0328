"""docs/evidence.md prints what benchmarks/evidence.py measured."""

import csv
import re

from tests.conftest import REPOSITORY

CELLS = (("3/4 bit", "docs"), ("3/4 bit", "news"), ("4/8 bit", "docs"), ("4/8 bit", "news"))


def test_the_table_is_the_committed_output() -> None:
    with (REPOSITORY / "benchmarks/results/evidence.csv").open(encoding="utf-8", newline="") as file:
        measured = {(row["budget"], row["text"], row["policy"]): row for row in csv.DictReader(file)}
    page = (REPOSITORY / "docs/evidence.md").read_text(encoding="utf-8")
    page = page.partition("## Costs, paired")[0]
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


def rows_of(heading: str, file: str) -> tuple[list[list[str]], list[dict[str, str]]]:
    """Return the cells of the tables under a heading, without their first lines, and the lines of a CSV file."""
    page = (REPOSITORY / "docs/evidence.md").read_text(encoding="utf-8")
    section = page.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    with (REPOSITORY / "benchmarks/results" / file).open(encoding="utf-8", newline="") as opened:
        return lines, list(csv.DictReader(opened))


def interval(row: dict[str, str], digits: int) -> str:
    mean, low, high = (f"{float(row[name]):+.{digits}f}" for name in ("difference", "low", "high"))
    return f"{mean} [{low}, {high}]"


COSTS = ("fisher", "sampled", "adamw", "channels", "measured", "activations")


def test_the_paired_costs_are_the_committed_output() -> None:
    lines, rows = rows_of("Costs, paired", "costs.csv")
    measured = {(row["model"], row["budget"], row["text"], row["cost"]): row for row in rows}
    for budget, head, *body in (("3/4 bit", *lines[:7]), ("4/8 bit", *lines[7:14])):
        assert len(body) == len(COSTS) and "`fisher`, labels of the text" in body[0][0]
        for cost, (_, *cells) in zip(COSTS, body, strict=True):
            for column, text in zip(head[1:], cells, strict=True):
                model, of_text = column.split(", ")
                row = measured.pop((model, str(budget), of_text, cost), None)
                shown = "–" if row is None else f"{float(row['kl']):.4f}" if cost == "fisher" else interval(row, 4)
                assert text == shown, (cost, column)
    assert not measured


def test_the_costs_by_embeddings_are_the_committed_output() -> None:
    lines = rows_of("Costs, paired", "costs.csv")[0][14:]
    output = (REPOSITORY / "benchmarks/results/embedding_costs.txt").read_text(encoding="utf-8")
    for cost, (_, *cells) in zip(("measured", "activations", "drawn"), lines[1:], strict=True):
        for (budget, text), cell in zip(CELLS, cells, strict=True):
            (found,) = re.findall(rf"^MiniLM {budget} +{text} +{cost} .*1 - cos (.*?) *$", output, re.MULTILINE)
            assert cell == re.sub(" +", ", ", found, count=1), (cost, budget, text)


def test_what_the_page_claims_of_the_costs_holds() -> None:
    kl = {(r["model"], r["budget"], r["text"], r["cost"]): float(r["kl"]) for r in rows_of("x", "costs.csv")[1]}
    gains, drawn = list[float](), list[float]()
    for model, budget, text, cost in kl:
        fisher, other = kl[model, budget, text, "fisher"], kl[model, budget, text, cost]
        if cost == "measured":
            gains.append(1 - fisher / other)
            assert kl[model, budget, text, "activations"] >= other
        if cost == "sampled" and budget == "3/4 bit":
            drawn.append(1 - other / fisher)
        assert cost != "activations" or other > 1.03 * fisher
    assert all(0.16 < gain < 0.47 for gain in gains) and all(0.005 < gain < 0.023 for gain in drawn)


def test_the_rounding_by_inputs_is_the_committed_output() -> None:
    lines, rows = rows_of("Rounding by inputs", "rounding.csv")
    measured = {(row["model"], f"`{row['format']}`", row["way"], row["text"]): row for row in rows}
    for model, name, way, *cells in lines[1:]:
        for text, kl, difference in (("docs", *cells[:2]), ("news", *cells[2:4])):
            row = measured.pop((model, name, way, text))
            assert kl == f"{float(row['nearest']):.4f} → {float(row['kl']):.4f}" and difference == interval(row, 4)
            assert cells[4] == f"{float(row['error_nearest']):.3f} → {float(row['error']):.3f}"
            if (model, way, text) == ("SmolLM2-135M", "gptq", "news"):  # the text to round by was of another kind
                assert float(row["low"]) > 0
            else:
                assert float(row["high"]) < 0
    assert not measured
    kl = {(row["model"], row["format"], row["text"], row["way"]): float(row["kl"]) for row in rows}
    turns = [value / kl[(*key[:3], "gptq")] for key, value in kl.items() if key[3] == "gptq in turn"]
    assert len(turns) == 8 and max(turns) < 1.06 and sum(turn < 1 for turn in turns) == 6


def test_the_formats_of_llama_cpp_are_the_committed_output() -> None:
    lines, rows = rows_of("Formats of llama.cpp", "ggml_types.csv")
    models = list(dict.fromkeys(row["model"] for row in rows))
    kl = {(row["format"], row["way"], row["model"], row["text"]): float(row["kl"]) for row in rows}
    cells = [(model, text) for model in models for text in ("docs", "news")]
    assert lines[0][3:] == [f"{model}, {text}" for model, text in cells]
    for _, name, way, *printed in lines[1:]:
        for cell, text in zip(cells, printed, strict=True):
            expected = kl.pop((name.strip("`"), way, *cell), None)
            assert text == ("–" if expected is None else f"{expected:.4f}"), (name, way, cell)
    assert not kl


def test_what_the_page_claims_of_them_holds() -> None:
    _, rows = rows_of("Formats of llama.cpp", "ggml_types.csv")
    for model, text in {(row["model"], row["text"]) for row in rows}:
        kl = {(r["format"], r["way"]): float(r["kl"]) for r in rows if (r["model"], r["text"]) == (model, text)}
        of_int4 = {name: value / kl["int4_g32", "nearest"] for (name, way), value in kl.items() if way == "nearest"}
        assert 0.43 < of_int4["gguf_iq4_nl"] < 0.67 and 0.66 < of_int4["gguf_q4_0"] < 0.845
        assert 0.49 < kl["gguf_q3_k", "nearest"] / kl["int3_g32", "nearest"] < 0.79
        if model == "SmolLM2-135M":  # q4_k finds the steps that its weights have been rounded to before
            assert 0.62 < of_int4["nf4"] < 0.68 and 0.97 < of_int4["mxfp4"] < 1.14
            continue
        assert min(of_int4.values()) == of_int4["gguf_q4_k"] and 0.49 < of_int4["gguf_q4_k"] < 0.575
        assert 0.93 < of_int4["nf4"] < 1.03 and 1.33 < of_int4["mxfp4"] < 1.44
        by_inputs = kl["int4_g32", "gptq"] / kl["gguf_q4_k", "imatrix"]
        assert by_inputs < 0.75 if model == "byte-llama-5m" else 1.14 < by_inputs < 1.3
        assert 0.36 < kl["gguf_iq3_s", "imatrix"] / kl["int3_g32", "nearest"] < 0.425
