"""Eigenvalues on disk: one file per layer, written when the layer is finished and read on demand."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile, ZipFile

import numpy as np

from alpha_callbacks.errors import SpectrumError
from alpha_callbacks.foreign_text import safe_file_name
from alpha_callbacks.precisions.registry import get_precision
from alpha_callbacks.utils.drafts import draft_of
from alpha_callbacks.utils.json_text import parsed_json
from alpha_callbacks.utils.regular_files import open_regular

if TYPE_CHECKING:
    from torch import Tensor

    from alpha_callbacks.options import AnalysisOptions
    from alpha_callbacks.weights.weight import Weight

FOLDER = "spectra"
BUDGET = 200 * 2**20  # bytes that are kept without being asked for; Llama 3.1 8B at six precisions takes 36 MB
_INDEX = "index"


def kept_layers(weights: Sequence[Weight], options: AnalysisOptions, save: bool | None) -> frozenset[str]:
    """Return the names of the layers whose eigenvalues a scan keeps.

    Args:
        weights: all of the checkpoint, so that every rank and shard decides alike.
        options: say how many decompositions per layer needs.
        save: True: of all. False: of none. None: of all if they take at most `BUDGET`, else of all but experts if those
            do, else of none.
    """
    if save is not None:
        return frozenset(weight.layer_name for weight in weights) if save else frozenset()
    for chosen in (weights, [w for w in weights if not w.category.startswith("moe_expert_")]):
        if sum(predicted_bytes(weight, options) for weight in chosen) <= BUDGET:
            return frozenset(weight.layer_name for weight in chosen)
    return frozenset()


def predicted_bytes(weight: Weight, options: AnalysisOptions) -> int:
    """Return what the eigenvalues of a layer take at most: those as stored, and of each format that rounds them."""
    rounded = sum(not get_precision(name).holds(weight.dtype) for name in options.precisions)
    return 8 * weight.n_eigs * (rounded + (rounded < len(options.precisions)))


def write_spectra(folder: Path, layer_name: str, spectra: Mapping[str, Tensor]) -> None:
    """Write the eigenvalues of a layer, each decomposition once; with none, remove what an earlier run left.

    The file appears whole or not at all. The system may lose it with the power: see `damaged_spectra`.

    Args:
        folder: made if needed.
        layer_name: whatever it holds, the file stays in the folder.
        spectra: precision -> eigenvalues; shared tensors are stored once.
    """
    path = folder / _file_name(layer_name)
    if not spectra:
        path.unlink(missing_ok=True)
        return
    distinct = {id(evals): evals for evals in spectra.values()}
    places = {key: str(i) for i, key in enumerate(distinct)}
    index = {"layer": layer_name, "precisions": {name: places[id(evals)] for name, evals in spectra.items()}}
    arrays: dict[str, Any] = {places[key]: evals.numpy() for key, evals in distinct.items()}
    arrays[_INDEX] = np.array(json.dumps(index))
    whole = BytesIO()  # an archive is written back and forth: on disk that takes longer than a small matrix's analysis
    np.savez(whole, **arrays)
    with draft_of(path) as draft:
        draft.write_bytes(whole.getbuffer())


def has_spectra(folder: Path, layer_name: str) -> bool:
    """Return True if the eigenvalues of a layer are stored."""
    return (folder / _file_name(layer_name)).exists()


def damaged_spectra(folder: Path, layer_name: str) -> bool:
    """Return True if there is a file for a layer, and not as it was written: where the power failed soon after."""
    path = folder / _file_name(layer_name)
    try:
        with open_regular(path) as opened, ZipFile(opened) as file:
            return file.testzip() is not None
    except FileNotFoundError:
        return False
    except (OSError, BadZipFile):
        return True


def copy_spectra(sources: Mapping[str, Sequence[Path]], target: Path) -> None:
    """Bring the files of layers into one folder, in place of what an earlier merge has left there.

    Args:
        sources: layer -> folders, of which the first that has a file of it counts.
        target: made if needed.
    """
    for layer_name, folders in sources.items():
        name = _file_name(layer_name)
        source = next((folder / name for folder in folders if (folder / name).exists()), None)
        if source is not None and source.resolve() != (target / name).resolve():
            with draft_of(target / name) as draft:
                shutil.copyfile(source, draft)


def clear_spectra(folder: Path) -> None:
    """Remove all files of eigenvalues."""
    for file in folder.glob("*.npz"):
        file.unlink()


class LayerSpectra(Mapping[str, "Tensor"]):
    """Precision -> eigenvalues of one layer: shape (n,), float64, descending. Read when asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            index = parsed_json(str(self._read(_INDEX)).encode())
            self.layer_name = str(index["layer"])
            self._places = {str(precision): str(place) for precision, place in index["precisions"].items()}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise self._refusal(f"an index that is none ({error})") from error

    def __getitem__(self, precision: str) -> Tensor:
        """Return the eigenvalues after the round trip through this precision.

        Raises:
            KeyError: there are none.
            SpectrumError: the file is damaged.
        """
        import torch

        return torch.from_numpy(self.array(precision))

    def array(self, precision: str) -> np.ndarray:
        """Return the same as an array of NumPy, for what needs no torch."""
        if precision not in self._places:
            raise KeyError(
                f"{precision}: expected one of {', '.join(self._places)}. What is proved has no eigenvalues of "
                "its own: scan with --save-spectra."
            )
        evals = self._read(self._places[precision])
        if evals.ndim != 1 or evals.dtype != np.float64:
            raise self._refusal(f"an array of shape {evals.shape} in {evals.dtype}")
        return evals

    def __contains__(self, precision: object) -> bool:
        """Return True if there are eigenvalues; reads nothing, which a mapping's own answer would."""
        return precision in self._places

    def __iter__(self) -> Iterator[str]:
        """Iterate over the precisions that have eigenvalues."""
        return iter(self._places)

    def __len__(self) -> int:
        """Return their number."""
        return len(self._places)

    def shared(self, precision: str) -> str:
        """Return the first precision that has the very same decomposition as this one."""
        return next(name for name, place in self._places.items() if place == self._places[precision])

    def _read(self, name: str) -> np.ndarray:
        try:
            # Opened here: numpy leaves the file of a damaged archive open.
            with open_regular(self._path) as opened, np.load(opened, allow_pickle=False) as file:
                if any(info.compress_type for info in file.zip.infolist()):  # a few bytes may stand for gigabytes
                    raise ValueError("a compressed archive")
                return np.asarray(file[name])
        except Exception as error:  # numpy raises whatever zipfile, zlib and its own parser do
            raise self._refusal(f"{type(error).__name__}: {error}") from error

    def _refusal(self, what: str) -> SpectrumError:
        return SpectrumError(
            f"{self._path}: expected eigenvalues kept by `scan`, got {what}. "
            "Scan again with --save-spectra --no-resume."
        )


class Spectra(Mapping[str, LayerSpectra]):
    """Layer name -> its eigenvalues; see `open_spectra`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __getitem__(self, layer_name: str) -> LayerSpectra:
        """Return the eigenvalues of a layer.

        Raises:
            KeyError: the scan kept none.
        """
        if not has_spectra(self._folder, layer_name):
            raise KeyError(layer_name)
        return LayerSpectra(self._folder / _file_name(layer_name))

    def __contains__(self, layer_name: object) -> bool:
        """Return True if the scan kept eigenvalues of this layer; reads nothing."""
        return isinstance(layer_name, str) and has_spectra(self._folder, layer_name)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the layers."""
        return (LayerSpectra(path).layer_name for path in sorted(self._folder.glob("*.npz")))

    def __len__(self) -> int:
        """Return the number of layers."""
        return sum(1 for _ in self._folder.glob("*.npz"))


def open_spectra(directory: str | Path) -> Spectra:
    """Return the eigenvalues that `scan --save-spectra` kept.

    Nothing is read until it is asked for: `open_spectra("out")["model.layers.0.mlp.up_proj"]["bf16"]` reads one layer.

    Args:
        directory: output folder of the scan. Where it kept none, the mapping is empty.
    """
    return Spectra(Path(directory) / FOLDER)


def _file_name(layer_name: str) -> str:
    """Return a file name for a layer; the digest tells names apart that differ only in what a file name cannot hold."""
    digest = hashlib.sha256(layer_name.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    return f"{safe_file_name(layer_name)}-{digest}.npz"
