import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from alpha_callbacks.checkpoints.locate import EMBEDDED
from alpha_callbacks.cli.app import app, main
from alpha_callbacks.planning.plan_json import read_plan
from alpha_callbacks.planning.sensitivities_file import write_sensitivities
from alpha_callbacks.precisions.registry import all_precisions, families
from alpha_callbacks.tables.read_results import read_results
from tests.conftest import REPOSITORY

RUNNER = CliRunner(env={"COLUMNS": "160", "TERM": "dumb", "NO_COLOR": "1"})


def run(*arguments: object) -> str:
    result = RUNNER.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result.output


def refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: object) -> str:
    monkeypatch.setattr("sys.argv", ["alpha-hill", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    return capsys.readouterr().err


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scan")
    output = run("scan", "-p", "fp32,bf16,fp8,int8,int4", "--no-plots", "-o", folder)
    assert "A plan of fp8_e4m3, int8 and int4_g32 can be exported to compressed-tensors, " in output
    return folder


@pytest.fixture
def text(tmp_path: Path) -> Path:
    import pydoc_data.topics

    file = tmp_path / "text.txt"
    file.write_text(" ".join(pydoc_data.topics.topics.values())[:60_000], encoding="utf-8")
    return file


def test_precisions_lists_every_format() -> None:
    output = run("precisions")
    for precision, family in all_precisions():
        assert f" {precision.name} " in output
        if family is not None:
            assert all(alias in output for alias in family.aliases)


def test_precisions_tells_what_a_family_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = replace(next(family for family in families() if family.name == "gguf"), examples=())
    monkeypatch.setattr("alpha_callbacks.cli.print_plan.families", lambda: (absent,))
    monkeypatch.setattr("alpha_callbacks.cli.print_plan.all_precisions", list)
    options = "q8_0, q5_1, q5_0, q4_1, q4_0, mxfp4, tq2_0, tq1_0, q6_k, q5_k, q4_k, q3_k, q2_k, iq4_nl, iq4_xs, iq3_s"
    assert f"gguf; options: {options}, iq3_xxs; not available: needs the extra gguf" in run("precisions")


def test_recommend_writes_a_plan_and_a_reason_for_every_layer(scanned: Path, tmp_path: Path) -> None:
    output = run("recommend", scanned, "--avg-bits", 5, "-o", tmp_path, "--all")
    plan = read_plan(tmp_path / "plan.json")
    assert plan.policy == "measured" and abs(plan.average_bits() - 5) <= 0.01
    assert plan.model == str(EMBEDDED)
    with (tmp_path / "recommendations.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["layer_name"] for row in rows] == [choice.layer_name for choice in plan.choices]
    assert all(row["reason"] and row["precision"] and row["alpha"] for row in rows)
    assert {"choice_measured", "choice_alphaq", "choice_thresholds"} <= rows[0].keys()
    for row in rows:
        assert row["layer_name"] in output
    for words in ("Rank correlation with the error of int4_g32", "What other policies would choose", "effective bits"):
        assert words in output


def test_several_budgets_give_a_plan_each_and_the_curve(scanned: Path, tmp_path: Path) -> None:
    output = run("recommend", scanned, "--avg-bits", "5,6,6.5", "-o", tmp_path)
    assert "knee of measured" in output and "int4_g32 everywhere" in output
    for bits in ("5", "6", "6.5"):
        assert abs(read_plan(tmp_path / f"plan_{bits}.json").average_bits() - float(bits)) <= 0.01
        assert (tmp_path / f"recommendations_{bits}.csv").exists() and f"plan_{bits}.json" in output
    assert not (tmp_path / "plan.json").exists() and (tmp_path / "plan_curve.png").stat().st_size > 5000
    policies = {line.split(",")[0] for line in (tmp_path / "plan_curve.csv").read_text().splitlines()}
    assert policies == {"policy", "measured", "alphaq", "thresholds", "uniform"}


def test_without_a_budget_the_curve_is_printed(scanned: Path, tmp_path: Path) -> None:
    output = run("recommend", scanned, "-o", tmp_path)
    assert "Curve: predicted error at each size" in output and "--avg-bits BITS[,BITS...]" in output
    assert "Curve: " not in run("recommend", scanned, "--avg-bits", 5, "-o", tmp_path)


def test_alphas_of_a_low_bit_format_are_called_so(scanned: Path, tmp_path: Path) -> None:
    assert "Alpha is that of" not in run("recommend", scanned, "-o", tmp_path)
    run("scan", "-p", "int8,int4", "--filter-layers", "layers.0.mlp", "--no-plots", "--no-report", "-o", tmp_path)
    assert "Alpha is that of int8: no wider precision was scanned." in run("recommend", tmp_path)


def test_export_config_takes_the_words_of_a_quantizer(scanned: Path, tmp_path: Path) -> None:
    target = tmp_path / "config.json"
    output = run("recommend", scanned, "--candidates", "int8,int4", "-o", tmp_path, "--export-config", target,
                 "--format", "compressed-tensors")  # fmt: skip
    assert (
        re.search("This plan can be exported to .*compressed-tensors, ", output)
        and "quantize --format` writes" in output
    )
    assert "Coverage: transformers quantizes " in output and "of the weights, all that the plan puts" in output
    config = json.loads(target.read_text())
    assert config["quant_method"] == "compressed-tensors" and config["ignore"] == ["lm_head"]
    again = tmp_path / "again.json"
    run("export", tmp_path / "plan.json", "--format", "compressed-tensors", "-o", again)
    assert again.read_text() == target.read_text()


def test_a_plan_is_the_default_export(scanned: Path, tmp_path: Path) -> None:
    run("recommend", scanned, "-o", tmp_path, "--export-config", tmp_path / "copy.json")
    assert (tmp_path / "copy.json").read_text() == (tmp_path / "plan.json").read_text()


def test_fisher_and_evaluate(scanned: Path, tmp_path: Path, text: Path) -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    output = run(
        "recommend", scanned, "--avg-bits", 5, "--sensitivity", "fisher", "--calibration", text, "-o", tmp_path
    )
    assert "Policy fisher" in output and read_plan(tmp_path / "plan.json").policy == "fisher"
    scores = tmp_path / "scores.csv"
    output = run("evaluate", EMBEDDED, "--plan", tmp_path / "plan.json", "--text", text, "--random", 2, "--tokens", 64,
                 "-o", scores)  # fmt: skip
    rows = list(csv.DictReader(scores.read_text(encoding="utf-8").splitlines()))
    assert {"base", "plan", "uniform int4_g32", "random 1", "random 2"} <= {row["plan"] for row in rows}
    assert "2 random plans at the same bits" in output and "top-1" in output
    run("recommend", scanned, "--avg-bits", "5,6", "-o", tmp_path)
    plans = ("--plan", tmp_path / "plan_5.json", "--plan", tmp_path / "plan_6.json")
    output = run("evaluate", EMBEDDED, *plans, "--text", text, "--tokens", 64)
    assert "KL of plan_5 minus plan_6: " in output and "plan_scores.csv, plan_curve.png" in output
    measured = list(csv.DictReader((tmp_path / "plan_scores.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["name"] for row in measured][-2:] == ["plan_5", "plan_6"] and all(float(row["kl"]) for row in measured)


def test_sensitivities_of_a_training_run(scanned: Path, tmp_path: Path) -> None:
    layers = [row.layer_name for row in read_results(scanned)]
    write_sensitivities({f"module.{name}": 1e-6 if ".0." in name else 1.0 for name in layers}, tmp_path)
    output = run("recommend", scanned, "--avg-bits", 6, "--sensitivities", tmp_path, "-o", tmp_path / "out")
    assert "Policy fisher: " in output
    bits = {c.layer_name: c.effective_bits for c in read_plan(tmp_path / "out" / "plan.json").choices if c.budgeted}
    first = [value for name, value in bits.items() if ".0." in name]
    assert sum(first) / len(first) < sum(bits.values()) / len(bits) - 0.5


def test_quantize_expands_patterns_and_writes_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("compressed_tensors")
    config = tmp_path / "patterns.json"
    patterns = [{"pattern": "*.mlp.*", "wq": "int4", "group_size": 32}, {"pattern": "*.0.*", "skip": True}]
    config.write_text(json.dumps({"default": {"wq": "int8", "group_size": 32}, "overrides": patterns}))
    saved = tmp_path / "plan.json"
    output = run("quantize", EMBEDDED, "--plan", config, "--dry-run", "--save-plan", saved)
    assert "29 matrices" in output and "refused" not in output and not (tmp_path / "an out").exists()
    output = run("quantize", EMBEDDED, "--plan", config, "--dry-run", "--rounding", "imatrix", "--calibration", config)
    assert "a dry run does not try --rounding: neither whether compressed-tensors has imatrix" in output
    output = run("quantize", EMBEDDED, "--plan", config, "--dry-run", "--format", "gguf")
    assert "note: it would be refused: gguf: cannot hold" in output
    precisions = {choice.layer_name: choice.precision for choice in read_plan(saved).choices}
    assert precisions["model.layers.0.mlp.up_proj"] == "bf16" == precisions["lm_head"]
    assert precisions["model.layers.1.mlp.up_proj"] == "int4_g32"
    assert precisions["model.layers.1.self_attn.q_proj"] == "int8_g32"
    by_inputs = ("--rounding", "gptq", "--calibration", REPOSITORY / "LICENSE", "--tokens", 128)
    output = run("quantize", EMBEDDED, "--plan", saved, "-o", tmp_path / "an out", *by_inputs)
    assert "note: GPTQ rounded 2" in output and "layers by their inputs on 128 tokens of " in output
    assert json.loads((tmp_path / "an out" / "config.json").read_text())["quantization_config"]["ignore"]
    assert f"alpha-hill evaluate tiny_llama --against '{tmp_path / 'an out'}' --text " in output.replace("\n", "")
    judged = ("--against", tmp_path / "an out", "--plan", saved, "--random", 0, "--tokens", 64)
    output = run("evaluate", EMBEDDED, *judged, "--text", REPOSITORY / "LICENSE", "-o", tmp_path / "scores.csv")
    assert "KL of plan minus checkpoint an out: " in output
    monkeypatch.chdir(tmp_path / "an out")
    output = run("evaluate", EMBEDDED, "--against", ".", "--text", REPOSITORY / "LICENSE", "--tokens", 64)
    assert "checkpoint an out" in output
    rows = {row["plan"]: row for row in csv.DictReader((tmp_path / "scores.csv").read_text().splitlines())}
    assert float(rows["checkpoint an out"]["kl"]) > 0 and rows["checkpoint an out"]["average_bits"] == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("recommend", "nowhere"), "nowhere: expected the results of `alpha-hill scan`"),
        (("recommend", "SCAN", "--avg-bits", 2), "--avg-bits: expected a mean"),
        (("recommend", "SCAN", "--sensitivity", "fisher"), "--calibration FILE"),
        (
            ("recommend", "SCAN", "--calibration", "SCAN/run.json"),
            "--calibration: expected --sensitivity fisher with it, got none",
        ),
        (("recommend", "SCAN", "--format", "gguf"), "--export-config: expected a file for --format, got none"),
        (
            ("recommend", "SCAN", "--sensitivities", "SCAN"),
            "expected the sensitivities of a training run, found nothing",
        ),
        (
            ("recommend", "SCAN", "--sensitivity", "fisher", "--sensitivities", "SCAN"),
            "--sensitivities: expected a file or --sensitivity fisher, got both.",
        ),
        (("recommend", "SCAN", "--sensitivity", "fisher", "--calibration", "nowhere", "--avg-bits", 2), "a mean"),
        (
            ("recommend", "SCAN", "--keep", "q_proyect"),
            "--keep: expected layers that match 'q_proyect', got none. Names are",
        ),
        (("recommend", "SCAN", "--candidates", "nf4"), "a column of nf4, the results have none. Run: alpha-hill scan "),
        (
            ("recommend", "SCAN", "--export-config", "x", "--format", "bitsandbytes"),
            "bitsandbytes: expected a format that it can store, got fp8_e4m3, int8, int4_g32. A plan of",
        ),
        (
            ("recommend", "SCAN", "--avg-bits", "50%"),
            "--avg-bits: expected a number such as 0.1, got '50%'. 50% is 0.5.",
        ),
        (("recommend", "SCAN", "--policy", "thresholds", "--candidates", "int4"), "expected a candidate of 8 bits"),
        (("recommend", "SCAN", "--export-config", "x", "--format", "onnx"), "--format: expected one of plan, "),
        (("export", "SCAN/run.json", "--format", "plan", "-o", "x"), "Make a plan with `alpha-hill recommend`"),
        (("quantize", EMBEDDED, "--plan", "SCAN/run.json", "--dry-run"), "Make a plan with `alpha-hill recommend`"),
        (("quantize", EMBEDDED, "--plan", "nowhere.json", "--dry-run"), "nowhere.json: expected a plan or a layer"),
        (("quantize", EMBEDDED, "--plan", "nowhere.json"), "--output-dir: expected a folder"),
        (
            ("evaluate", EMBEDDED, "--text", "SCAN/run.json"),
            "expected --plan FILE or --against CHECKPOINT, got neither.",
        ),
        (("evaluate", EMBEDDED, "--against", "nowhere", "--text", "SCAN/run.json"), "nowhere"),
        (
            ("quantize", EMBEDDED, "--plan", "nowhere.json", "--dry-run", "--rounding", "gptq"),
            "--calibration: expected a text file with --rounding gptq or imatrix and with no other, got none with",
        ),
        (
            ("quantize", EMBEDDED, "--plan", "nowhere.json", "--dry-run", "--calibration", "x.txt"),
            "got x.txt with nearest.",
        ),
        (
            ("quantize", EMBEDDED, "--plan", "nowhere.json", "--dry-run", "--rounding", "awq"),
            "--rounding: expected one of nearest, gptq, imatrix, got 'awq'.",
        ),
    ],
)
def test_what_cannot_be_done_is_one_clear_line(
    scanned: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[object, ...],
    message: str,
) -> None:
    before = sorted(scanned.iterdir())
    given = [str(argument).replace("SCAN", str(scanned)) for argument in arguments]
    given += ["-o", str(tmp_path)] if given[0] == "recommend" else []
    error = refused(capsys, monkeypatch, *given)
    assert message in error and error.count("\n") <= 2
    assert sorted(scanned.iterdir()) == before and not (tmp_path / "plan.json").exists()


def test_a_plan_of_another_model_is_refused(
    scanned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run("recommend", scanned, "-o", tmp_path)
    plan = json.loads((tmp_path / "plan.json").read_text())
    plan["layers"][0]["in_features"] = 7
    (tmp_path / "other.json").write_text(json.dumps(plan))
    error = refused(capsys, monkeypatch, "quantize", EMBEDDED, "--plan", tmp_path / "other.json", "--dry-run")
    assert "expected shape 192x7 as in the plan of " in error and ", got 192x192 in " in error
    plan["layers"][0]["layer_name"] = "model.layers.99.mlp.up_proj"
    (tmp_path / "other.json").write_text(json.dumps(plan))
    error = refused(capsys, monkeypatch, "quantize", EMBEDDED, "--plan", tmp_path / "other.json", "--dry-run")
    assert "1 are missing (e.g. model.layers.99.mlp.up_proj)" in error
