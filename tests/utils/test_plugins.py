"""Plugins: our own need no metadata, a broken one of somebody else costs one warning, none is imported unasked."""

import logging
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoints
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import nn

from alpha_callbacks import Monitor, Plots, scan
from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.errors import CheckpointError, OptionError, PlanError
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.planning.export_plan import export_plan, targets
from alpha_callbacks.planning.write_model import write_model
from alpha_callbacks.precisions.registry import families, get_precision
from alpha_callbacks.sinks.csv_sink import CsvSink
from alpha_callbacks.sinks.sink import Host, MemorySink, check_sinks, open_sinks
from alpha_callbacks.utils import plugins
from tests.conftest import REPOSITORY
from tests.support.fake_distributions import BROKEN, Install, distributions, forget
from tests.support.plan_examples import plan_of
from tests.support.warm import run_code

GROUPS: tuple[plugins.Group, ...] = get_args(plugins.Group)
FORMAT = """
from alpha_callbacks.precisions.precision import Family, Precision
def make(options):
    return Precision("third", (), 3, None, lambda rows, largest: (rows * 3).round() / 3)
FAMILY = Family({name!r}, {aliases!r}, make, "")
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    folder = tmp_path / "site"
    folder.mkdir()
    with distributions(folder, monkeypatch) as made:
        yield made


@pytest.fixture
def no_metadata(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(plugins, "entry_points", lambda **_: EntryPoints())
    forget()
    yield
    forget()


@pytest.fixture
def everywhere_broken(install: Install) -> None:
    install("broken-dist", BROKEN, **{group: "zz_broken = MODULE:thing" for group in GROUPS})


def left_out(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.getMessage().endswith("It is left out.")]


@pytest.mark.parametrize("group", GROUPS)
def test_every_plugin_of_ours_can_be_imported_without_metadata(group: plugins.Group, no_metadata: None) -> None:
    assert [name for name, _ in plugins.load_all(group)] == plugins.names(group) != []


def test_ours_are_in_no_metadata_too() -> None:
    assert "entry-points" not in (REPOSITORY / "pyproject.toml").read_text()


def test_a_checkout_without_metadata_does_everything(tmp_path: Path, no_metadata: None) -> None:
    pytest.importorskip("tensorboard")
    pytest.importorskip("gguf")
    assert scan(output_dir=tmp_path / "scan", plots=Plots(()), report=False)
    options = AnalysisOptions(precisions=("fp32", "gguf:q8_0"))
    for sinks in ("auto", ["csv", "tensorboard"]):
        with Monitor(options, sinks=sinks, output_dir=tmp_path / "run", on_error="raise") as monitor:
            assert monitor.log(nn.Sequential(nn.Linear(64, 64)), 0)
    assert list((tmp_path / "run" / "tensorboard").iterdir()) and (tmp_path / "run" / "alpha_hill_history.csv").exists()
    assert "attn_q" in export_plan(plan_of({"blk.0.attn_q": "gguf:q4_0"}), "gguf").text
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    with pytest.raises(CheckpointError, match="expected a whole GGUF file"):
        open_checkpoint(tmp_path / "x.gguf")


def test_a_checkout_without_its_second_folder_still_trains(tmp_path: Path) -> None:
    """A path of `alpha_callbacks` alone: what lies in integrations/ is left out, with a line that says what to do."""
    code = (
        "import sys; from importlib import metadata; metadata.entry_points = lambda **_: ()\n"
        "sys.modules['alpha_integrations'] = None\n"
        "from alpha_callbacks import AnalysisOptions, Monitor; from torch import nn\n"
        f"with Monitor(AnalysisOptions(), output_dir={str(tmp_path)!r}) as monitor:\n"
        "    assert monitor.log(nn.Sequential(nn.Linear(64, 64)), 0)\n"
    )
    done = run_code(code)
    assert "sink 'tensorboard' of alpha-callbacks: expected find_tensorboard from alpha_integrations" in done.stderr
    assert "put the folder integrations/ on the path too" in done.stderr
    assert (tmp_path / "alpha_hill_history.csv").exists()


def test_names_are_listed_without_an_import(everywhere_broken: None) -> None:
    for group in GROUPS:
        assert "zz_broken" in plugins.names(group)
    assert "zz_broken" in targets()
    check_sinks(["zz_broken"])
    with pytest.raises(OptionError, match="mlflow, tensorboard, trackio, wandb, zz_broken or objects, got 'mlfow'"):
        check_sinks(["mlfow"])
    assert "broken_dist" not in sys.modules


def test_what_is_asked_for_imports_nothing_else(everywhere_broken: None, caplog: pytest.LogCaptureFixture) -> None:
    assert export_plan(plan_of({"fc": "int8"}), "torchao").text and export_plan(plan_of({"fc": "int8"}), "plan").text
    assert get_precision("int4").name == "int4_g32" and get_precision("fp8_e4m3_none").name == "fp8_e4m3_none"
    assert caplog.records == []


def test_only_an_unknown_precision_imports_families_of_plugins() -> None:
    code = (
        "import sys; from alpha_callbacks import AnalysisOptions\n"
        "AnalysisOptions(precisions=('bf16', 'int4:g128', 'fp8_e5m2')); print(*sys.modules)"
    )
    done = run_code(code)
    assert "alpha_callbacks.precisions.families" in done.stdout.split()
    assert "alpha_integrations.precisions.gguf_precision" not in done.stdout.split()


def test_a_broken_one_is_one_warning_and_stops_nothing(
    everywhere_broken: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        assert [type(sink) for sink in open_sinks("auto", Host(tmp_path))] == [CsvSink]
    (warning,) = caplog.records
    assert warning.levelno == logging.WARNING
    assert warning.getMessage() == (
        "alpha-Hill: sink 'zz_broken' of broken-dist: expected thing from broken_dist, got ImportError: libcudart.so.9 "
        "is not there. Update or uninstall broken-dist. It is left out."
    )
    assert families() and any(family.name == "gguf" for family in families())
    with pytest.raises(OptionError, match=r"expected one of fp64.*gguf.*, got 'nonsense'"):
        get_precision("nonsense")
    assert len(left_out(caplog)) == 2


def test_a_broken_one_that_is_asked_for_is_an_error(everywhere_broken: None, tmp_path: Path) -> None:
    told = (
        r"'zz_broken' of broken-dist: expected thing from broken_dist, got ImportError: libcudart.so.9 is not there\."
    )
    with pytest.raises(OptionError, match=f"sink {told}"):
        open_sinks(["zz_broken"], Host(tmp_path))
    with pytest.raises(OptionError, match=f"precision {told}"):
        get_precision("zz_broken:x")
    with pytest.raises(PlanError, match=f"exporter {told}"):
        export_plan(plan_of({"fc": "int8"}), "zz_broken")
    with pytest.raises(PlanError, match=f"writer {told}"):
        write_model(tmp_path, plan_of({"fc": "int8"}), tmp_path / "out", "zz_broken")
    (tmp_path / "m.zz_broken").touch()
    with pytest.raises(CheckpointError, match=f"reader {told}"):
        open_checkpoint(tmp_path / "m.zz_broken")


@pytest.mark.parametrize(
    ("code", "point", "got"),
    [
        ("import sys; sys.exit(3)", "x = MODULE:find", "SystemExit: 3"),
        ("1 / 0", "x = MODULE:find", "ZeroDivisionError"),
        ("", "x = MODULE:find", "AttributeError"),
        ("", "x = MODULE_gone:find", "ModuleNotFoundError"),
        ("find = 3", "x = MODULE:find", "TypeError: 3, which cannot be called"),
    ],
)
def test_every_way_to_be_broken(code: str, point: str, got: str, install: Install, tmp_path: Path) -> None:
    install("other-dist", code, sinks=point)
    with pytest.raises(OptionError, match=f"sink 'x' of other-dist: expected .*, got {got}"):
        open_sinks(["x"], Host(tmp_path))
    assert len(open_sinks("auto", Host(tmp_path))) == 1


def test_a_name_of_ours_stays_ours(install: Install, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    install("greedy-dist", "def find(host, *, asked): 1 / 0", sinks="csv = MODULE:find")
    assert [type(sink) for sink in open_sinks(["csv"], Host(tmp_path))] == [CsvSink]
    assert left_out(caplog) == [
        "alpha-Hill: sink 'csv' of greedy-dist: the name belongs to alpha-callbacks. It is left out."
    ]


def test_an_older_installation_of_ours_is_not_asked(install: Install, caplog: pytest.LogCaptureFixture) -> None:
    install("Alpha_Callbacks", BROKEN, sinks="csv = MODULE:gone\nold = MODULE:gone")
    assert plugins.names("sinks") == ["comet", "csv", "mlflow", "tensorboard", "trackio", "wandb"]
    assert caplog.records == []


def test_a_sink_that_fails_at_an_offer_costs_no_run(
    install: Install, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    install("hasty-dist", "def find(host, *, asked): return host.offers[0]", sinks="hasty = MODULE:find")
    assert [type(sink) for sink in open_sinks("auto", Host(tmp_path))] == [CsvSink]
    assert left_out(caplog) == [
        "alpha-Hill: sink 'hasty' of hasty-dist: it failed with IndexError: tuple index out of range. It is left out."
    ]
    with pytest.raises(IndexError):
        open_sinks(["hasty"], Host(tmp_path))


def test_a_sink_of_a_third_party(install: Install, tmp_path: Path) -> None:
    code = "from alpha_callbacks import MemorySink\ndef find(host, *, asked): return [MemorySink()] if asked else []"
    install("aim-alpha", code, sinks="aim = MODULE:find")
    assert [type(sink) for sink in open_sinks("auto", Host(tmp_path))] == [CsvSink]
    assert isinstance(open_sinks(["aim"], Host(tmp_path))[0], MemorySink)


@pytest.mark.parametrize("wanted", ["third", "other_word", "int4_third", "THIRD:x"])
def test_a_family_is_found_by_the_name_of_its_plugin_and_by_its_aliases(wanted: str, install: Install) -> None:
    install(
        "third-dist",
        FORMAT.format(name="third", aliases=("other_word", "int4_third")),
        precisions="third = MODULE:FAMILY",
    )
    precision = get_precision(wanted)
    assert precision.name == "third" and precision.round_trip(torch.tensor([[0.3]]), 0.3).item() == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("name", "aliases", "why"),
    [("int4", (), "the name int4 is taken."), ("new", ("bf16",), "the name bf16 is taken."), ("gguf", (), "")],
)
def test_a_family_cannot_take_a_name_that_is_taken(
    name: str, aliases: Any, why: str, install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    install("third-dist", FORMAT.format(name=name, aliases=aliases), precisions="zz = MODULE:FAMILY")
    assert len({alias for f in families() for alias in (f.name, *f.aliases)}) == sum(
        1 + len(f.aliases) for f in families()
    )
    (told,) = left_out(caplog)
    assert told.startswith("alpha-Hill: precision 'zz' of third-dist: ") and why in told
    assert get_precision("int4").name == "int4_g32"


def test_what_is_no_family_is_left_out(install: Install, caplog: pytest.LogCaptureFixture) -> None:
    install("third-dist", "FAMILY = 3", precisions="zz = MODULE:FAMILY")
    assert "zz" not in {family.name for family in families()}
    assert left_out(caplog) == ["alpha-Hill: precision 'zz' of third-dist: expected a Family, got int. It is left out."]
