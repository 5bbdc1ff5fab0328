import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from alpha_callbacks import __version__
from alpha_callbacks.cli.app import _result_name, app, main
from tests.conftest import REPOSITORY
from tests.support.scan_runs import command

EMBEDDED = REPOSITORY / "alpha_callbacks" / "assets" / "tiny_llama"


def test_version() -> None:
    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, done.output.strip()) == (0, f"alpha-hill {__version__}")


def test_help_names_every_option_in_its_group() -> None:
    done = CliRunner().invoke(app, ["scan", "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
    for group in ("What to compute", "Which layers", "Output", "Machine"):
        assert group in done.output
    for option in [
        "--device",
        "--load-dtype",
        "--precisions",
        "--k-frac",
        "--k-min",
        "--threshold",
        "--solver",
        "--reuse-tol",
        "--filter-layers",
        "--exclude-layers",
        "--include-embeddings",
        "--resume",
        "--no-resume",
        "--revision",
        "--log-level",
        "--plot-format",
        "--no-plots",
        "--max-layers-per-plot",
        "--no-report",
        "--save-spectra",
        "--no-save-spectra",
        "--workers",
        "--threads",
        "--shard",
        "--output-dir",
    ]:
        assert option in done.output, option


def test_report_tells_what_was_learned(tmp_path: Path) -> None:
    done = command("-m", "alpha_callbacks", "scan", "-o", str(tmp_path), "--no-plots", COLUMNS="200")
    assert done.returncode == 0, done.stderr
    assert "Weights are stored in bfloat16: fp32 and bf16 are identical by construction." in done.stdout
    assert re.search(r"fp16: alpha differs from the stored weights by at most \d\.\de-0\d in any layer", done.stdout)
    assert "29 analysed, 0 shared, 10 skipped" in done.stdout
    assert ": report.html, precision_alpha_hill_results.csv" in done.stdout and (tmp_path / "report.html").exists()
    assert "the embedded tiny Llama: 29 matrices to analyse, 1.8 M weights" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no/such/thing"], "no/such/thing"),
        (["my_model"], "alpha-hill: my_model: the hub cannot be reached"),  # a name with an underscore is no option
        (["--precisions", "fp7"], "expected one of fp64, fp32, fp16, bf16"),
        (["--k-frac", "2"], "alpha-hill: --k-frac: expected a share between 0 and 1, got 2.0"),
        (["--filter-layers", "("], "alpha-hill: --filter-layers: expected a regular expression"),
        (["--shard", "3/2"], "shard: expected i/n"),
        (["--device", "cuda:77"], "device: expected one of"),
    ],
)
def test_wrong_usage_is_code_2_and_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.argv", ["alpha-hill", "scan", "-o", str(tmp_path), *arguments])
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len([line for line in lines if line.startswith("alpha-hill:")]) == 1
    assert message in lines[-1]


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("Llama-3.1-8B", "Llama-3.1-8B"),
        ("run1/checkpoint-500", "run1--checkpoint-500"),
        ("minilm/model", "minilm--model"),
        ("m.safetensors", "m"),
    ],
)
def test_default_folder_keeps_models_apart(folder: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / folder
    if path.suffix == ".safetensors":
        path.touch()
    else:
        path.mkdir(parents=True)
    assert _result_name(str(path)) == expected
    assert _result_name("org/Llama-3.1-8B") == "org--Llama-3.1-8B"


def test_faults_of_ours_are_code_3(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["alpha-hill", "scan", "--no-plots"])
    monkeypatch.setattr("alpha_callbacks.scanning.scan.scan", lambda *a, **k: 1 / 0)
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 3
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_output_that_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("sys.argv", ["alpha-hill", "scan", "-o", str(tmp_path / "file")])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert "file: expected a folder or a place for one, got File exists. Name another." in capsys.readouterr().err


def test_unknown_option_is_code_2() -> None:
    assert CliRunner().invoke(app, ["scan", "--nonsense"]).exit_code == 2


def test_shard_then_merge(tmp_path: Path) -> None:
    for i in ("1/2", "2/2"):
        done = command("-m", "alpha_callbacks", "scan", "-o", str(tmp_path), "--shard", i)
        assert done.returncode == 0, done.stderr
        assert "alpha-hill merge" in done.stdout
    done = command("-m", "alpha_callbacks", "merge", str(tmp_path), "--no-plots")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "precision_alpha_hill_results.csv").read_text().count("\n") == 30
