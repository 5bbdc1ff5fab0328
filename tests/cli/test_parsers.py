"""A bad value is refused before any work, with the same line in every command."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from alpha_callbacks.cli import parsers
from tests.cli.conftest import Done, options

PRECISIONS = [
    ("fp7", r"expected one of fp64, fp32, fp16, bf16, .*, got 'fp7'\. .*See `alpha-hill precisions`\."),
    (
        "fp32 bf16",
        r"expected names separated by commas, got 'fp32 bf16'\. Separate with commas: fp32,bf16\.",
    ),
    ("", r"expected at least one name, got none\. .*"),
    ("fp32,float32", r"expected each once, got 'fp32' twice.*"),
    ("int4:g", r"precision 'int4:g': .*expected .*"),
]
FILES = [("folder", r"expected a file to write, got the folder 'folder'\. Name a file in it\."),
         ("file/x.csv", r"expected a folder, got 'file' \(file is a file\)\. Name another\.")]  # fmt: skip
WHOLE = r"expected a whole number of at least {}, got {}\."
NUMBER = [("10%", r"expected a number such as 0\.1, got '10%'\. 10% is 0\.1\.")]
REGEX = [("(", r"expected a regular expression, got '\(' \(.*\)\.")]


def choice(*names: str) -> list[tuple[str, str]]:
    return [("xyz", rf"expected one of {', '.join(names)}, got 'xyz'\.")]


BAD = {
    "--precisions": PRECISIONS,
    "--candidates": PRECISIONS,
    "--load-dtype": [("int4", r"expected fp64, fp32, fp16 or bf16, got 'int4', which is no torch dtype\.")],
    "--dtype": [("int4", r"expected fp64, fp32, fp16 or bf16, got 'int4', which is no torch dtype\.")],
    "--k-frac": [*NUMBER, ("2", r"expected a share between 0 and 1, got 2\.0\. The usual value is 0\.1\.")],
    "--reuse-tol": [*NUMBER, ("2", r"expected 0 to 1, got 2\.0\. .*")],
    "--avg-bits": NUMBER,
    "--gamma": NUMBER,
    "--variation": NUMBER,
    "--bounds": [("3", r"expected two numbers such as 2\.5,3\.0, got '3'\.")],
    "--steps": [("last", r"expected one step, or two such as 1000,20000, got 'last'\."),
                ("1,2,3", r"expected one step, or two such as 1000,20000, got '1,2,3'\.")],
    "--k-min": [("0", WHOLE.format(1, 0)), ("2.5", WHOLE.format(1, r"2\.5"))],
    "--max-layers-per-plot": [("0", WHOLE.format(1, 0))],
    "--workers": [("0", WHOLE.format(1, 0)), ("all", WHOLE.format(1, "all"))],
    "--threads": [("0", WHOLE.format(1, 0))],
    "--tokens": [("1", WHOLE.format(3, 1))],
    "--context": [("1", WHOLE.format(2, 1))],
    "--random": [("-1", WHOLE.format(0, -1))],
    "--seed": [("x", WHOLE.format(0, "x"))],
    "--plots": choice("main", "all"),
    "--estimator": [("xyz", r"expected any of hill, csn, .*, or all, got 'xyz'\.")],
    "--measures": [("xyz", r"expected any of norms, bulk, entries, spacings, traps, or all, got 'xyz'\.")],
    "--threshold": choice("next", "last"),
    "--solver": choice("exact", "fast"),
    "--policy": choice("measured", "alphaq", "thresholds"),
    "--sensitivity": choice("none", "fisher"),
    "--rounding": choice("nearest", "gptq", "imatrix"),
    "--protect": choice("high-alpha", "low-alpha"),
    "--log-level": choice("debug", "info", "warning", "error"),
    "--plot-format": [("xyz", r"expected some of png, pdf, svg, got 'xyz'\.")],
    "--format": [("xyz", r"expected one of .*compressed-tensors, .*torchao, got 'xyz'\.")],
    "--filter-layers": REGEX,
    "--exclude-layers": REGEX,
    "--keep": REGEX,
    "--device": [("cuda:77", r"expected (one of the \d+ CUDA devices|cpu, for torch sees no CUDA device).*"
                             r", got 'cuda:77'\. Use --device cpu, or auto.*"),
                 ("tpu", r"expected cpu, cuda, cuda:<n> or auto, got 'tpu'\.")],
    "--shard": [("3/2", r"expected i/n with 1 <= i <= n, got '3/2'\. For example: 2/8\.")],
    "--output-dir": [("", r"expected a folder, got an empty name\. Name one; the current folder is '\.'\."),
                     ("file", r"expected a folder, got 'file' \(file is a file\)\. Name another\."),
                     ("file/x", r"expected a folder, got 'file/x' \(file is a file\)\. Name another\.")],
    "--output": FILES,
    "--export-config": FILES,
    "--save-plan": FILES,
}  # fmt: skip
# Any text may be right: the library looks.
FREE = {"--model", "--base", "--plan", "--against", "--text", "--calibration", "--sensitivities", "--revision"}
CASES = [
    (command, flag, option.opts[0], value, message)
    for command, option in options()
    for value, message in BAD.get(option.opts[0], [])
    for flag in option.opts
]


def test_every_option_with_a_value_has_a_case() -> None:
    assert {option.opts[0] for _, option in options() if not option.is_flag} == BAD.keys() | FREE


@pytest.mark.parametrize(("command", "typed", "flag", "value", "message"), CASES)
def test_a_bad_value_is_one_line_that_names_the_option(
    command: str,
    typed: str,
    flag: str,
    value: str,
    message: str,
    alpha_hill: Callable[..., Done],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    done = alpha_hill(command, typed, value)
    assert (done.code, done.out) == (2, "")
    assert re.fullmatch(rf"alpha-hill: {flag}: {message}\n", done.err), done.err
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]


def test_a_page_of_a_run_shows_one_precision(alpha_hill: Callable[..., Done]) -> None:
    done = alpha_hill("history", "-p", "fp32,bf16")
    assert done == Done(2, "", "alpha-hill: --precisions: expected one precision, got 'fp32,bf16'.\n")


def test_values_that_are_right() -> None:
    assert parsers.names(parsers.precision_list(" fp32, float16,int4:g128 ")) == ("fp32", "fp16", "int4_g128")
    assert parsers.names(None) == ()
    assert parsers.one_precision("half") == "fp16" == parsers.torch_precision("half")
    assert parsers.step_list("1000,20000") == "1000,20000" and parsers.whole(at_least=0)("0") == 0
    assert parsers.folder("new/place") == Path("new/place") and parsers.output_file("new/file") == Path("new/file")
    assert parsers.shard("2/8") == "2/8" and parsers.device("cpu") == "cpu" and parsers.numbers("1,2") == "1,2"


def test_the_example_model_has_a_name_unless_a_path_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from alpha_callbacks.checkpoints.locate import EMBEDDED

    monkeypatch.chdir(tmp_path)
    assert parsers.model("tiny_llama") == str(EMBEDDED) and parsers.model("org/name") == "org/name"
    assert parsers.typed_model(str(EMBEDDED)) == "tiny_llama" and parsers.typed_model("org/name") == "org/name"
    (tmp_path / "tiny_llama").mkdir()
    assert parsers.model("tiny_llama") == "tiny_llama"
    assert parsers.typed_model(str(EMBEDDED)) == str(EMBEDDED)
