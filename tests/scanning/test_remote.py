"""A scan over the network: the bytes of a scan from disk, resumable, of one version, nothing on disk but results."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from typer.testing import CliRunner

from alpha_callbacks.analysis.parallel import Parallelism
from alpha_callbacks.checkpoints.checkpoint import Checkpoint, Origin
from alpha_callbacks.checkpoints.remote import link, open_remote
from alpha_callbacks.cli.app import app
from alpha_callbacks.errors import CheckpointError, JournalError, OptionError, SourceError
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.scanning.observer import Observer
from alpha_callbacks.scanning.scan import scan
from alpha_callbacks.scanning.write_results import Plots, ScanResult
from alpha_callbacks.tables.results_csv import COVERAGE, RESULTS, SUMMARY
from alpha_callbacks.weights.weight import Weight
from tests.checkpoints.remote.conftest import QUICK, Serve
from tests.checkpoints.remote.conftest import serve as serve
from tests.conftest import REPOSITORY, heavy
from tests.support.stand_in_hub import COMMIT, StandIn, files_of
from tests.support.tiny_gguf import write_tiny_gguf

EMBEDDED = REPOSITORY / "alpha_callbacks" / "assets" / "tiny_llama"
FEW = AnalysisOptions(precisions=("fp32", "int4"), include="layers.0")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_remote.Patience is link.Patience  # it is imported, so that its annotations are of the class
    monkeypatch.setattr(link, "Patience", lambda: QUICK)


def quick(source: str | Path, folder: Path, observer: Observer | None = None, **options: object) -> ScanResult | None:
    settings = {"options": FEW, "plots": Plots(()), "report": False, "save_spectra": False, "workers": 1, **options}
    return scan(source, output_dir=folder, observer=observer, **settings)  # type: ignore[arg-type]


class Watcher(Observer):
    """Remembers what was announced, and does something once a number of layers are finished."""

    def __init__(self, after: int = 0, act: object = None) -> None:
        self.after, self.act, self.size, self.todo, self.done, self.kept = after, act, -1, 0, 0, 0

    def fetching(self, origin: Origin, size: int) -> None:
        self.size, self.origin = size, origin

    def opened(self, checkpoint: Checkpoint, todo: list[Weight], kept: int, parallelism: Parallelism) -> None:  # type: ignore[override]
        self.todo, self.kept = len(todo), kept

    def finished(self, result: object) -> None:
        self.done += 1
        if self.done == self.after:
            self.act()  # type: ignore[operator]


def test_the_files_are_the_bytes_of_a_scan_from_disk(serve: Serve, tmp_path: Path) -> None:
    hub, watcher = serve(files_of(EMBEDDED)), Watcher()
    quick(EMBEDDED, tmp_path / "disk", options=AnalysisOptions(precisions=("fp32", "bf16", "int4")))
    quick(
        "org/tiny", tmp_path / "net", watcher, options=AnalysisOptions(precisions=("fp32", "bf16", "int4")), remote=True
    )
    for name in (RESULTS, SUMMARY, COVERAGE):
        assert (tmp_path / "net" / name).read_bytes() == (tmp_path / "disk" / name).read_bytes(), name
    record = json.loads((tmp_path / "net" / "run.json").read_text())
    assert record["source"] == "org/tiny" and record["remote"]["commit"] == COMMIT
    assert record["checkpoint"]["commit"] == COMMIT
    received, whole = record["remote"]["bytes_received"], len(hub.files["model.safetensors"])
    assert 0.9 * watcher.size < received < 1.1 * whole + 2**18


def test_gguf_over_the_network_is_gguf_from_disk(serve: Serve, tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    file = write_tiny_gguf(tmp_path / "tiny.gguf", tied=True)
    serve({file.name: file.read_bytes()}, faults=["drop", "503", "fewer"], skip=5)
    few = AnalysisOptions(precisions=("fp32",), include="blk.0")
    quick(file, tmp_path / "disk", options=few)
    quick("org/tiny/tiny.gguf", tmp_path / "net", options=few, remote=True)
    for name in (RESULTS, SUMMARY, COVERAGE):
        assert (tmp_path / "net" / name).read_bytes() == (tmp_path / "disk" / name).read_bytes(), name
    watcher = Watcher()
    quick("org/tiny", tmp_path / "net", watcher, options=few, remote=True)
    assert (watcher.kept, watcher.todo) == (7, 0)


def test_nothing_but_results_is_written(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    opened = list[str]()
    sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" and _writes(args) else None)
    serve(files_of(EMBEDDED))
    home = tmp_path / "home"
    home.mkdir()
    for name in ("HF_HUB_CACHE", "HF_HOME"):
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", str(home), raising=False)
    monkeypatch.setenv("TMPDIR", str(home))
    quick("org/tiny", tmp_path / "out", remote=True)
    written = [path for path in opened if not path.startswith(str(tmp_path / "out"))]
    assert any(path.startswith(str(tmp_path / "out")) for path in opened)
    assert written == [] and list(home.rglob("*")) == []


def _writes(args: tuple[object, ...]) -> bool:
    mode, flags = args[1], args[2]
    by_mode = isinstance(mode, str) and any(letter in mode for letter in "wax+")
    return by_mode or (isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)))


def test_a_scan_that_lost_the_server_goes_on_where_it_was(serve: Serve, tmp_path: Path) -> None:
    hub = serve(files_of(EMBEDDED))

    def lose() -> None:
        hub.faults += ["503"] * 100

    first = Watcher(after=1, act=lose)
    monkey = AnalysisOptions(precisions=("fp32",))
    with pytest.raises(SourceError, match="got status 503 .*Finished layers are kept: run the same command again"):
        _one_by_one(hub, first, tmp_path, monkey)
    assert not (tmp_path / "out" / RESULTS).exists()
    assert 0 < first.done < first.todo
    hub.faults.clear()
    second = Watcher()
    _one_by_one(hub, second, tmp_path, monkey)
    assert second.kept == first.done and second.todo == first.todo - first.done
    quick(EMBEDDED, tmp_path / "disk", options=monkey)
    assert (tmp_path / "out" / RESULTS).read_bytes() == (tmp_path / "disk" / RESULTS).read_bytes()


def _one_by_one(hub: StandIn, watcher: Watcher, tmp_path: Path, options: AnalysisOptions) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("alpha_callbacks.analysis.read_ahead._MOST_AHEAD", 1)
        quick("org/tiny", tmp_path / "out", watcher, options=options, remote=True)


def test_a_model_that_changes_gives_no_table_of_two(serve: Serve, tmp_path: Path) -> None:
    hub = serve(files_of(EMBEDDED))

    def push() -> None:
        hub.files["model.safetensors"] = bytes(len(hub.files["model.safetensors"]))
        hub.commit = "f" * 40
        hub.expire()

    with pytest.raises(SourceError, match="expected the file that was opened, it has changed"):
        _one_by_one(hub, Watcher(after=1, act=push), tmp_path, AnalysisOptions(precisions=("fp32",)))
    assert not (tmp_path / "out" / RESULTS).exists()
    hub.files = files_of(EMBEDDED)
    with pytest.raises(
        JournalError, match=f"checkpoint.commit was {COMMIT} there and is ffff.*earlier commit with --revision"
    ):
        quick("org/tiny", tmp_path / "out", options=AnalysisOptions(precisions=("fp32",)), remote=True)


def test_what_is_on_this_machine_is_not_remote(tmp_path: Path) -> None:
    for source, name in ((None, "the model that comes with the package"), (EMBEDDED, "tiny_llama, which is on this")):
        with pytest.raises(OptionError, match=f"remote: expected a model id or a URL, got .*{name}"):
            quick(source, tmp_path, remote=True)  # type: ignore[arg-type]


def test_a_url_needs_the_option(tmp_path: Path) -> None:
    for url in ("https://host/model.safetensors", "http://host/org/model"):
        with pytest.raises(CheckpointError, match=r"expected a file, a folder or a model id .*--remote"):
            quick(url, tmp_path)


def test_a_tensor_larger_than_what_is_kept_is_read_in_blocks(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    matrix = heavy(400, 40)
    files = {"model.safetensors": save({"lm_head.weight": matrix})}
    hub = serve(files)
    monkeypatch.setattr("alpha_callbacks.weights.weight.HOLD_BYTES", 1000)
    monkeypatch.setattr("alpha_callbacks.weights.weight.BLOCK_ELEMENTS", 40 * 128)
    monkeypatch.setattr("alpha_callbacks.analysis.read_ahead.HOLD_BYTES", 1000)
    monkeypatch.setattr("alpha_callbacks.analysis.read_ahead.available_memory", lambda: 0)
    result = quick("org/tiny", tmp_path, options=AnalysisOptions(precisions=("fp32",)), remote=True)
    assert result is not None and result.failed == []
    lengths = [int(b) + 1 - int(a) for a, b in (s.removeprefix("bytes=").split("-") for s in hub.ranges()[1:])]
    assert lengths and max(lengths) == 128 * 40 * 4


def test_the_command(serve: Serve, tmp_path: Path) -> None:
    hub = serve(files_of(EMBEDDED))
    base = ["scan", "org/tiny", "--remote", "-o", str(tmp_path), "--no-plots", "--no-report", "--no-save-spectra"]
    done = CliRunner().invoke(app, [*base, "--filter-layers", "layers.0", "-p", "fp32"])
    assert done.exit_code == 0, done.output
    assert "kB of commit 0123456789ab will be read over the network; nothing of it is kept on disk" in " ".join(
        done.stderr.split()
    )
    assert {request.authorization for request in hub.requests if request.host == "storage"} == {""}


def test_torch_is_left_alone(serve: Serve, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    serve(files_of(EMBEDDED))
    quick("org/tiny", tmp_path, remote=True)
    assert torch.get_num_threads() == before


def test_a_base_is_not_downloaded(serve: Serve, tmp_path: Path) -> None:
    serve(files_of(EMBEDDED))
    with pytest.raises(OptionError, match="base: expected a model on this machine, since --remote downloads none, got"):
        quick("org/tiny", tmp_path, remote=True, base="org/tiny")
    result = quick("org/tiny", tmp_path, remote=True, base=EMBEDDED)
    assert result is not None and result.failed == []


def test_results_do_not_tell_secrets(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = serve(files_of(EMBEDDED))
    url = f"{hub.storage_url.replace('//', '//user:pass@')}/blobs/model.safetensors?X-Signature=7"
    monkeypatch.setattr("sys.argv", ["alpha-hill", "scan", url, "--remote"])
    quick(url, tmp_path, remote=True)
    for file in tmp_path.rglob("*"):
        text = file.read_text() if file.is_file() else ""
        assert "user:pass" not in text and "Signature" not in text, file
    assert json.loads((tmp_path / "run.json").read_text())["command"] == (
        f"alpha-hill scan {hub.storage_url}/blobs/model.safetensors --remote"
    )
