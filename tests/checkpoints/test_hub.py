"""Model ids, against a small stand-in for the hub's HTTP interface on this machine."""

import hashlib
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
from safetensors.torch import save

from alpha_callbacks.checkpoints.locate import locate
from alpha_callbacks.errors import CheckpointError, OptionError
from tests.conftest import REPOSITORY, noise
from tests.support import warm

COMMIT = "0123456789abcdef0123456789abcdef01234567"
EMBEDDED = REPOSITORY / "alpha_callbacks" / "assets" / "tiny_llama"


class Hub(ThreadingHTTPServer):
    """Serves org/tiny (public) and org/gated from the embedded checkpoint; remembers which files were asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.fetched: list[str] = []
        files = {file.name: file.read_bytes() for file in EMBEDDED.iterdir()}
        self.files = {
            **files,
            "modeling_tiny.py": b"raise SystemExit",
            "pytorch_model.bin": b"not wanted",
            "big.onnx": b"x",
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlparse(self.path).path)
        if "org/gated" in path:
            return self.answer(403, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"})
        if "org/tiny" not in path:
            return self.answer(404, b"", {"X-Error-Code": "RepoNotFound"})
        if "nosuchrevision" in path:
            return self.answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
        if path.startswith("/api/models/org/tiny/tree/"):
            entries = [
                {"type": "file", "path": n, "size": len(b), "oid": hashlib.sha1(b).hexdigest()}
                for n, b in self.server.files.items()
            ]
            return self.answer(200, json.dumps(entries).encode(), {"Content-Type": "application/json"})
        if path.startswith("/api/models/org/tiny"):
            info = {"id": "org/tiny", "sha": COMMIT, "siblings": [{"rfilename": name} for name in self.server.files]}
            return self.answer(200, json.dumps(info).encode(), {"Content-Type": "application/json"})
        name = path.partition("/resolve/")[2].partition("/")[2]
        if name not in self.server.files:
            return self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})
        if self.command == "GET":
            self.server.fetched.append(name)
        body = self.server.files[name]
        return self.answer(200, body, {"ETag": f'"{hashlib.sha256(body).hexdigest()}"', "X-Repo-Commit": COMMIT})

    def answer(self, code: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


QUIET = ("--no-plots", "--no-report", "--no-save-spectra")


def scan(
    model: str, tmp_path: Path, endpoint: str, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    home = {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1", "COLUMNS": "400"}
    clean = {k: v for k, v in os.environ.items() if not k.startswith("HF_") and not k.lower().endswith("_proxy")}
    return warm.run(
        ["-m", "alpha_callbacks", "scan", model, "-o", tmp_path / "out", *QUIET, *arguments],
        imports=warm.COMMAND,
        environment={**clean, **home, **environment},
        anew=("huggingface_hub",),
    )


def test_fetches_weights_and_config_only_then_uses_the_cache(hub: Hub, tmp_path: Path) -> None:
    done = scan("org/tiny", tmp_path, hub.url)
    assert done.returncode == 0, done.stderr
    assert sorted(set(hub.fetched)) == ["config.json", "model.safetensors"]
    assert "29 analysed" in done.stdout
    assert "left aside: pytorch_model.bin." in done.stderr
    (note,) = json.loads((tmp_path / "out" / "run.json").read_text())["notes"]
    assert note.endswith("left aside: pytorch_model.bin.")
    hub.fetched.clear()
    assert scan("org/tiny", tmp_path, hub.url, "--no-resume").returncode == 0
    assert hub.fetched == []
    offline = scan("org/tiny", tmp_path, "http://127.0.0.1:9", "--no-resume", HF_HUB_OFFLINE="1")
    assert offline.returncode == 0, offline.stderr


def test_one_file_of_a_repository_can_be_named(hub: Hub, tmp_path: Path) -> None:
    names = ("low/tiny-Q4.safetensors", "low/tiny-Q8.safetensors", "low/config.json")
    hub.files = {**hub.files, **dict.fromkeys(names[:2], save({"fc.weight": noise(24, 24)})), names[2]: b"{}"}
    for endpoint, offline in ((hub.url, "0"), ("http://127.0.0.1:9", "1")):
        done = scan(f"org/tiny/{names[1]}", tmp_path, endpoint, "--no-resume", HF_HUB_OFFLINE=offline)
        assert done.returncode == 0, done.stderr
        assert "1 analysed" in done.stdout
    assert sorted(set(hub.fetched)) == [names[2], names[1]]
    other = scan("org/tiny/low/other.safetensors", tmp_path, hub.url)
    assert other.returncode == 2 and "org/tiny: expected 'low/other.safetensors' among its files" in other.stderr


def test_a_mistake_in_a_path_is_not_told_to_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    for source in ("runs/a/model.safetensors", "../org/tiny/model.gguf", "org/tiny/readme"):
        with pytest.raises(CheckpointError, match="found nothing there"):
            locate(source)


def test_a_commit_can_be_named(hub: Hub, tmp_path: Path) -> None:
    assert scan("org/tiny", tmp_path, hub.url, "--revision", COMMIT).returncode == 0


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        ("org/gated", (), "this model is gated. Accept its terms"),
        ("org/unknown", (), "expected a path on disk or a model on the hub, found neither"),
        ("org/tiny", ("--revision", "nosuchrevision"), "found no revision 'nosuchrevision'"),
    ],
)
def test_clear_errors(hub: Hub, tmp_path: Path, model: str, arguments: tuple[str, ...], message: str) -> None:
    done = scan(model, tmp_path, hub.url, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_hub_out_of_reach(tmp_path: Path) -> None:
    done = scan("org/tiny", tmp_path, "http://127.0.0.1:9")
    assert done.returncode == 2
    assert "the hub cannot be reached and the cache does not hold the model" in done.stderr
    assert "Retrying" not in done.stderr  # one line, at once


def test_repository_without_weights(hub: Hub, tmp_path: Path) -> None:
    hub.files = {"config.json": b"{}", "README.md": b""}
    done = scan("org/tiny", tmp_path, hub.url)
    assert done.returncode == 2
    assert "expected weights (.safetensors, .bin or .gguf), the repository has none" in done.stderr


def test_a_pipeline_comes_with_its_components_and_nothing_else(hub: Hub, tmp_path: Path) -> None:
    weights, config = save({"fc.weight": noise(24, 24)}), b"{}"
    parts = {"unet": ["diffusers", "UNet2DConditionModel"], "scheduler": ["diffusers", "EulerDiscreteScheduler"]}
    index = {"weight_map": {"fc.weight": "mine.safetensors"}}
    hub.files = {
        "model_index.json": json.dumps(parts).encode(),
        "whole_pipeline.safetensors": b"not wanted",
        "unet/config.json": config,
        "unet/mine.safetensors": weights,
        "unet/model.safetensors.index.json": json.dumps(index).encode(),
        "unet/diffusion_pytorch_model.fp16.safetensors": b"not wanted",
        "scheduler/scheduler_config.json": b"{}",
        "safety_checker/model.safetensors": b"not wanted",
    }
    for endpoint, offline in ((hub.url, "0"), ("http://127.0.0.1:9", "1")):
        done = scan("org/tiny", tmp_path, endpoint, "--no-resume", HF_HUB_OFFLINE=offline)
        assert done.returncode == 0, done.stderr
        assert "1 analysed" in done.stdout
    assert sorted(set(hub.fetched)) == [
        "model_index.json", "unet/config.json", "unet/mine.safetensors", "unet/model.safetensors.index.json"
    ]  # fmt: skip


def test_a_revision_of_a_local_model_is_refused(tmp_path: Path) -> None:
    for source in (None, tmp_path):
        with pytest.raises(OptionError, match="revision: expected the model id that 'main' belongs to"):
            locate(source, "main")
