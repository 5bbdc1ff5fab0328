"""`--help` on a terminal of 80 columns, and the examples that it shows."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from alpha_callbacks import Plots
from alpha_callbacks.cli.app import PANELS, _root, app
from alpha_callbacks.cli.help_text import help_of
from alpha_callbacks.plots.elements import canvas
from alpha_callbacks.sinks.csv_sink import CsvSink
from alpha_callbacks.sinks.sink import Host
from tests.cli.conftest import commands
from tests.conftest import REPOSITORY
from tests.support.rows import snapshot

RUNNER = CliRunner(env={"COLUMNS": "80", "TERM": "dumb", "NO_COLOR": "1"})
PAGES = ["", *commands()]
DOCUMENTED = {"": _root, **{function.__name__: function for panel in PANELS.values() for function in panel}}
EXAMPLES = list(dict.fromkeys(line for page in DOCUMENTED.values() for line in help_of(page).examples))


def shown(page: str) -> list[str]:
    result = RUNNER.invoke(app, [*page.split(), "--help"])
    assert result.exit_code == 0, result.output
    return [line.rstrip() for line in result.output.splitlines()]


@pytest.mark.parametrize("page", PAGES)
def test_no_option_is_cut_at_80_columns(page: str) -> None:
    lines = shown(page)
    assert max(map(len, lines)) <= 80 and not any("…" in line for line in lines)
    command = commands()[page] if page else typer.main.get_command(app)
    for param in command.params:
        names = [*param.opts, *param.secondary_opts] if param.opts[0].startswith("-") else [str(param.metavar)]
        whole = [re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])") for name in names]
        assert any(all(name.search(line) for name in whole) for line in lines), f"no line has {names}"


@pytest.mark.parametrize("page", PAGES)
def test_help_ends_with_its_examples(page: str) -> None:
    lines = [line.strip() for line in shown(page) if line.strip()]
    examples = help_of(DOCUMENTED[page]).examples
    assert examples and lines[-len(examples) - 1 :] == ["Examples", *examples]
    assert examples[-1].startswith((f"alpha-hill {page}", "torchrun"))


@pytest.mark.parametrize("page", PAGES)
def test_paragraphs_are_wrapped_once(page: str) -> None:
    text = "\n".join(line.removeprefix(" ") for line in shown(page)).split("╭")[0]
    paragraphs = [p for p in re.split(r"\n\s*\n", text) if p.strip() and not p.strip().startswith("Usage")]
    assert len(paragraphs) == help_of(DOCUMENTED[page]).text.count("\n\n") + 1
    for paragraph in paragraphs:
        lines = paragraph.splitlines()
        for line, after in zip(lines, lines[1:], strict=False):
            assert len(line) + 1 + len(after.split()[0]) > 78, f"{line!r} is broken too early"


def test_the_first_page_shows_the_workflow() -> None:
    text = "\n".join(shown(""))
    order = [text.index(f"│ {name} ") for name in ("scan", "recommend", "evaluate", "quantize", "report", "merge")]
    assert "Workflow: scan -> recommend -> evaluate -> quantize" in text and order == sorted(order)


def test_commands_are_those_of_the_panels() -> None:
    assert [function.__name__ for panel in PANELS.values() for function in panel] == list(commands())


def test_no_help_waits_for_torch() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from alpha_callbacks.cli.app import app\n"
        f"codes = [CliRunner().invoke(app, [*page.split(), '--help']).exit_code for page in {PAGES}]\n"
        "print(codes, *{'torch', 'pandas', 'matplotlib', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert done.stdout.strip() == str([0] * len(PAGES))


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_can_be_parsed(example: str) -> None:
    program, *arguments = shlex.split(example)
    if program == "torchrun":
        program, *arguments = arguments[arguments.index("-m") + 1 :]
    if program == "python":
        assert Path(REPOSITORY / arguments[0]).exists() or arguments[0] == "-m"
        return
    assert program in ("alpha-hill", "alpha_callbacks")
    context = commands()[arguments[0]].make_context(arguments[0], arguments[1:])
    assert context.params.keys() == {param.name for param in context.command.params if param.name != "help"}


def test_examples_run_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("transformers", "accelerate", "compressed_tensors", "torchao"):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("alpha_callbacks.cli.scan_output.Plots", lambda *given, **named: Plots(()))  # other tests draw
    monkeypatch.setattr(canvas, "_WRITERS", dict.fromkeys(canvas._WRITERS, lambda figure, file: file.write(b"blank")))
    sink = CsvSink(Host(output_dir=tmp_path / "results" / "train_hf" / "alpha_hill"))  # what the training leaves
    for step in (0, 10):
        sink.log(snapshot(step))
    for example in EXAMPLES:
        program, *arguments = shlex.split(example)
        if "--remote" in arguments:
            continue  # it asks the hub; against a stand-in the same is run in tests/scanning/test_remote.py
        if program == "alpha-hill":
            result = CliRunner().invoke(app, arguments)
            assert result.exit_code == 0, (example, result.output, result.exception)
        elif "pydoc" in arguments:
            subprocess.run(example.replace("python", sys.executable, 1), shell=True, check=True, env=os.environ)
    made = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    assert made >= {"demo/plan.json", "demo/report.html", "quantized/config.json", "torchao.json", "pages/history.html",
                    "sharded/precision_alpha_hill_results.csv", "twice/compare.html", "heldout.txt"}  # fmt: skip
