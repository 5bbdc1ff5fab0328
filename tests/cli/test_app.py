import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from alpha_callbacks import __version__
from alpha_callbacks.cli.app import app, main
from alpha_callbacks.cli.scan_output import result_name
from alpha_callbacks.errors import OptionError
from tests.cli.conftest import Done
from tests.conftest import REPOSITORY
from tests.support.scan_runs import command

EMBEDDED = REPOSITORY / "alpha_callbacks" / "assets" / "tiny_llama"


def test_version() -> None:
    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, done.output.strip()) == (0, f"alpha-hill {__version__}")


def test_help_names_every_group() -> None:
    done = CliRunner().invoke(app, ["scan", "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
    for group in ("What to compute", "Which layers", "Output", "Storage", "Machine"):
        assert group in done.output


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
        (["--k-frac", "2"], "alpha-hill: --k-frac: expected a share between 0 and 1, got 2.0"),
        (["--qqq"], "alpha-hill: No such option: --qqq. See `alpha-hill scan --help`."),
        (["tiny_llama", "bf16"], "alpha-hill: Got unexpected extra argument"),
        (["--k-min"], "alpha-hill: Option '--k-min' requires an argument."),
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
    assert result_name(str(path)) == expected
    assert result_name("org/Llama-3.1-8B") == "org--Llama-3.1-8B"


def test_internal_errors_are_code_3(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["alpha-hill", "scan", "--no-plots"])
    monkeypatch.setattr("alpha_callbacks.scanning.scan.scan", lambda *a, **k: 1 / 0)
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 3
    error = capsys.readouterr().err
    assert "ZeroDivisionError" in error
    assert error.endswith("alpha-hill: internal error in alpha_callbacks (the traceback is above). Please report it.\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["frobnicate"], "No such command 'frobnicate'. See `alpha-hill --help`."),
        (["report"], "DIR: expected a value, got none. See `alpha-hill report --help`."),
        (["quantize", "tiny_llama"], "--plan: expected a value, got none. See `alpha-hill quantize --help`."),
    ],
)
def test_what_is_missing_is_named(arguments: list[str], message: str, alpha_hill: Callable[..., Done]) -> None:
    assert alpha_hill(*arguments) == Done(2, "", f"alpha-hill: {message}\n")


def test_no_command_shows_help(alpha_hill: Callable[..., Done]) -> None:
    done = alpha_hill()
    assert done.code == 2 and "Workflow" in done.out and done.err == ""


def test_an_error_of_python_names_the_option_as_typed(
    alpha_hill: Callable[..., Done], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, flag in (("include", "--filter-layers"), ("device", "--device"), ("nothing typed", "nothing typed")):

        def refuse(*given: object, name: str = name, **options: object) -> None:
            raise OptionError(f"{name}: expected something else.")

        monkeypatch.setattr("alpha_callbacks.scanning.scan.scan", refuse)
        assert alpha_hill("scan", "-o", tmp_path) == Done(2, "", f"alpha-hill: {flag}: expected something else.\n")


def test_shard_then_merge(tmp_path: Path, alpha_hill: Callable[..., Done]) -> None:
    for i in ("1/2", "2/2"):
        done = alpha_hill("scan", "-o", tmp_path, "--shard", i)
        assert done.code == 0, done.err
        assert "When all are, run: alpha-hill merge" in done.out
    done = alpha_hill("merge", tmp_path, "--no-plots")
    assert done.code == 0, done.err
    assert (tmp_path / "precision_alpha_hill_results.csv").read_text().count("\n") == 30
