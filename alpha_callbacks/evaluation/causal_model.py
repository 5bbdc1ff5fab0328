"""Where transformers finds a causal language model, and what every way of loading one shares. No code of it is run."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from torch import nn

from alpha_callbacks.checkpoints.checkpoint import Checkpoint
from alpha_callbacks.checkpoints.gguf_header import read_gguf_header
from alpha_callbacks.checkpoints.locate import locate
from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint, weight_files
from alpha_callbacks.errors import CheckpointError, MissingExtraError
from alpha_callbacks.utils.own_logger import own_logger

_log = own_logger(__name__)

ROPE_FACTORS = "rope_freqs.weight"  # of a GGUF file: what the frequencies of rotary positions are divided by
_OTHER_FACTORS = ("rope_factors_long.weight", "rope_factors_short.weight")


@dataclass(frozen=True)
class CausalModel:
    """A causal language model on disk, not loaded yet.

    Attributes:
        source: what the user named.
        folder: to load from.
        gguf_file: name of the GGUF file in it, or "".
        checkpoint: opened by our readers, which tell a damaged one in our words.
        library: transformers.
        revision: of a model id.
        told: notes that were given; a model is loaded once for many windows, and again for the next.
    """

    source: str
    folder: Path
    gguf_file: str
    checkpoint: Checkpoint
    library: Any
    revision: str | None = None
    told: set[str] = field(default_factory=set, compare=False)

    @classmethod
    def of(cls, source: str | Path, revision: str | None = None) -> "CausalModel":
        """Find a folder in Hugging Face form, a model id on the hub, or a .gguf file.

        Raises:
            MissingExtraError: transformers (or gguf, for such a file) is not installed.
            CheckpointError: it is none of these, an adapter, or damaged.
        """
        path = locate(source, revision)
        folder, gguf_file = _folder(path)
        library, checkpoint = _transformers(gguf_file), open_checkpoint(path)
        _require_readable(source, checkpoint)
        if (folder / "adapter_config.json").is_file() and find_spec("peft") is not None:
            raise CheckpointError(
                f"{source}: expected a model alone, got one with adapter_config.json beside it: transformers would "
                "load the adapter and what it names as its base. Move the adapter to a folder of its own."
            )
        return cls(str(source), folder, gguf_file, checkpoint, library, revision)

    @property
    def options(self) -> dict[str, Any]:
        """What every function of transformers that loads something is given."""
        gguf = {"gguf_file": self.gguf_file} if self.gguf_file else {}
        return {"trust_remote_code": False, "local_files_only": True, **gguf}

    @contextmanager
    def loading(self, what: str = "a causal language model") -> Iterator[None]:
        """Say in one line what transformers does not like, and keep its own lines off stderr.

        Raises:
            CheckpointError: it could not load something.
        """
        try:
            with _quiet(self.library, bool(self.gguf_file)):
                yield
        except (OSError, ValueError, KeyError, ImportError, NotImplementedError, _config_error()) as error:
            first = str(error).strip().partition("\n")[0]
            first = f"nothing under {first}" if isinstance(error, KeyError) else first
            raise CheckpointError(f"{self.source}: expected {what}, as transformers loads it, got {first}") from error

    def config(self) -> Any:
        """Return its config; call it within `loading`.

        Raises:
            CheckpointError: it is BERT or its like, loaded as decoders that see the tokens they should predict.
        """
        config = self.library.AutoConfig.from_pretrained(self.folder, **self.options)
        names = [str(name) for name in getattr(config, "architectures", None) or []]
        if masked := next((name for name in names if name.endswith(("ForMaskedLM", "ForPreTraining"))), None):
            raise CheckpointError(
                f"{self.source}: expected a causal language model, got {masked}, which sees the whole text."
            )
        return config

    @property
    def on_disk(self) -> bool:
        """False for a model id, of whose repository `folder` has the weights and the config alone."""
        return Path(self.source).exists()

    def tokenizer(self) -> Any:
        """Return its tokenizer; call it within `loading`."""
        there = {} if self.on_disk else {"revision": self.revision or "main", "local_files_only": False}
        place = self.folder if self.on_disk else self.source
        return self.library.AutoTokenizer.from_pretrained(place, **{**self.options, **there})

    def ready(self, model: Any, info: Mapping[str, Any], device: str) -> nn.Module:
        """Return a loaded model in eval mode without gradients.

        Raises:
            CheckpointError: parameters are missing, or have other shapes than its config says.
        """
        if absent := sorted([*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])]):
            raise CheckpointError(
                f"{self.source}: expected a causal language model, {len(absent)} of its parameters are missing or have "
                f"shapes that do not fit config.json ({absent[0]}, ...). Name a checkpoint of the whole model."
            )
        if surplus := sorted(info["unexpected_keys"]):
            self._tell(
                f"{len(surplus)} of its tensors have no place in {type(model).__name__} and count for nothing, "
                f"e.g. {surplus[0]}."
            )
        if self.gguf_file:  # the weights are plain floats now
            if unread := self._scale_positions(model):
                self._tell(
                    f"transformers leaves out the scaling of rotary positions that the file has ({unread}): "
                    "predictions are not those of llama.cpp."
                )
            del model.config.quantization_config
            model.hf_quantizer = None
        return cast(nn.Module, model.to(device).eval().requires_grad_(False))

    def _tell(self, what: str) -> None:
        if what not in self.told:
            self.told.add(what)
            _log.warning("%s: %s", self.source, what)

    def _scale_positions(self, model: nn.Module) -> str:
        """Scale the frequencies of rotary positions as a GGUF file says, which transformers leaves unread.

        Returns:
            What of it could not be applied, or "".
        """
        tensors = {tensor.name: tensor for tensor in self.checkpoint.tensors}
        if (factors := tensors.get(ROPE_FACTORS)) is not None:
            values = factors.read(0, factors.shape[0]).float()
            plain: list[Any] = [m for m in model.modules() if getattr(m, "rope_type", "") == "default"]
            fitting = [m for m in plain if getattr(m, "inv_freq", values[:0]).shape == values.shape]
            for module in fitting:
                module.inv_freq /= values.to(module.inv_freq.device)
            return "" if fitting else ROPE_FACTORS
        kinds = (
            f"{key} = {kind}"
            for key, kind in self.checkpoint.config.get("gguf", {}).items()
            if key.endswith(".rope.scaling.type") and kind != "none" and not key.startswith("gpt-oss.")
        )
        return next((name for name in _OTHER_FACTORS if name in tensors), next(kinds, ""))


def _require_readable(source: str | Path, checkpoint: Checkpoint) -> None:
    """Refuse an adapter, and a GGUF file that the package gguf reads with its bytes in the wrong order."""
    if checkpoint.is_adapter:
        base = checkpoint.adapter_config.get("base_model_name_or_path")
        of = f" of {base}" if isinstance(base, str) and base else ""
        raise CheckpointError(
            f"{source}: expected a whole model, got an adapter{of}. Merge it into its base (in PEFT merge_and_unload, "
            "then save_pretrained) and name the result."
        )
    if checkpoint.files[0].suffix.lower() == ".gguf" and read_gguf_header(checkpoint.files[0]).big_endian:
        raise CheckpointError(
            f"{source}: expected a little-endian GGUF file, got a big-endian one, which transformers does not read. "
            "Convert a copy with `gguf-convert-endian COPY little`, which overwrites it."
        )


def _transformers(gguf_file: str) -> Any:
    """Return the package, with all that it needs there."""
    for name, extra in (("transformers", "hf"), *((("gguf", "gguf"), ("accelerate", "hf")) if gguf_file else ())):
        if find_spec(name) is None:
            raise MissingExtraError("evaluating a language model", extra)
    return import_module("transformers")


def _config_error() -> type[Exception]:
    """Return what transformers raises for a value of a wrong type in config.json."""
    return cast(type[Exception], import_module("huggingface_hub.errors").StrictDataclassError)


def _folder(path: Path) -> tuple[Path, str]:
    """Return the folder to load from, and the name of the GGUF file in it, or ""."""
    files = weight_files(path)
    if files and files[0].suffix.lower() == ".gguf":
        if len(files) > 1:
            raise CheckpointError(f"{path}: expected one GGUF file, got {len(files)} shards. Merge them first.")
        return files[0].parent, files[0].name
    folder = path if path.is_dir() else path.parent
    if not (folder / "config.json").is_file():
        _require_readable(path, open_checkpoint(path))
        raise CheckpointError(
            f"{path}: expected a folder with config.json, as transformers saves one, or a .gguf file. "
            "Only these say how the model computes."
        )
    return folder, ""


@contextmanager
def _quiet(transformers: Any, gguf: bool) -> Iterator[None]:
    """Keep progress bars and log lines of loading off stderr; what matters of them is checked here."""
    bars, disabled = transformers.utils.logging, logging.root.manager.disable
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    logging.disable(logging.WARNING)
    # That of the tensors of a GGUF file is shown without asking.
    reader: Any = import_module("transformers.modeling_gguf_pytorch_utils") if gguf else None
    tqdm = getattr(reader, "tqdm", None)
    try:
        if tqdm is not None:
            reader.tqdm = partial(tqdm, disable=True)
        yield
    finally:
        if tqdm is not None:
            reader.tqdm = tqdm
        logging.disable(disabled)
        if shown:
            bars.enable_progress_bar()
