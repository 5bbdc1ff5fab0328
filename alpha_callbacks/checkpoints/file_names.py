"""What the names of files say: their format, the set that they belong to, and whether they hold weights at all."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

# The preferred one first.
FORMATS = ("safetensors", "bin", "ckpt", "gguf", "pt", "pth")
# Names that the libraries give to the weights of a whole model, the most usual one first.
MAIN = (
    "model",
    "pytorch_model",
    "diffusion_pytorch_model",
    "pytorch_model_fsdp",
    "weights",
    "consolidated",
    "open_clip_model",
    "open_clip_pytorch_model",
)
_STATE = re.compile(  # of a training run, or of another program
    r"^(training_args|optimizer|scheduler|sampler|dl_state|scaler|rng_state|random_states|custom_checkpoint|openvino)"
    r"([._-].*)?\.\w+$"
)
_BESIDE = re.compile(  # weights that are no whole model
    r"^(adapter_model|pytorch_lora_weights)\b|mmproj|[._-]imatrix\b|^imatrix|^ggml-vocab", re.IGNORECASE
)
_PIECE = re.compile(r"\d+[-_]mp[-_]?(?!1\.)\d+\.|[-_.]TP[-_]?(\d+|common)\.|-rank-(?!0-)\d+-part-\d+\.safetensors$")
_OF_RANK = re.compile(r"^(?:.*-rank-(\d+)-part-\d+|rank(\d+))\.safetensors$")  # vLLM's sharded states; TensorRT-LLM
_RANK = re.compile(r"^(?P<stem>consolidated)\.(?P<number>\d+)\.(?P<format>pth|pt)$")  # Meta's own: one for each GPU
_NUMBERED = re.compile(
    r"^(?P<stem>.*?)[-_.]?(?P<number>\d+)-of-(?P<total>\d+)(?P<variant>(\.[\w-]+)*?)\.(?P<format>\w+)$"
)
_INDEX = re.compile(r"^(?P<stem>.+?)\.(?P<format>\w+)\.index(\.(?P<variant>[\w-]+))?\.json$")


class SetName(NamedTuple):
    """What the files of one set have in common.

    Attributes:
        format: suffix without the dot.
        stem: the name without numbers, variant and suffix.
        variant: "fp16" of model.fp16.safetensors; only of the names in `MAIN`.
        total: number of files that each of them says there are; 1 for a single file, 0 where they do not say.
    """

    format: str
    stem: str
    variant: str
    total: int

    @property
    def rank(self) -> int:
        """Its place in `MAIN`, or the number of these."""
        return MAIN.index(self.stem) if self.stem in MAIN else len(MAIN)


@dataclass
class NamedSet:
    """Files of one set by their numbers."""

    name: SetName
    files: dict[int, str] = field(default_factory=dict)

    @property
    def missing(self) -> list[int]:
        """The numbers that no file has; they begin at 1, in some programs at 0."""
        first = 0 if 0 in self.files else 1
        count = self.name.total or max(self.files) + 1 - first
        return [number for number in range(first, first + count) if number not in self.files]


def sets_of(names: Iterable[str], formats: Iterable[str] = FORMATS) -> list[NamedSet]:
    """Return the sets that files of weights form by their names.

    Args:
        names: of all files in one folder.
        formats: suffixes of weights.
    """
    known, found = frozenset(formats), dict[SetName, NamedSet]()
    for name in sorted(names):
        key, number = set_name(name)
        if key.format in known and not _STATE.match(name) and not name.startswith("."):
            found.setdefault(key, NamedSet(key)).files[number] = name
    return list(found.values())


def set_name(file: str) -> tuple[SetName, int]:
    """Return the set that a file belongs to by its name, and its number in it.

    Examples:
        >>> set_name("model.fp16-00002-of-00003.safetensors")
        (SetName(format='safetensors', stem='model', variant='fp16', total=3), 2)
        >>> set_name("SmolLM2.Q4_1.gguf")[0].stem
        'SmolLM2.Q4_1'
    """
    match = _NUMBERED.match(file)
    if match is not None:
        stem, variant = _stem_and_variant(match["stem"], match["format"])
        variant = variant or match["variant"].strip(".")
        return SetName(match["format"].lower(), stem, variant, int(match["total"])), int(match["number"])
    match = _RANK.match(file)
    if match is not None:
        return SetName(match["format"], match["stem"], "", 0), int(match["number"])
    stem, _, suffix = file.rpartition(".")
    return SetName(suffix.lower(), *_stem_and_variant(stem, suffix), 1), 1


def index_of(file: str) -> SetName | None:
    """Return the set that an index is named after, or None for a file that is no index of weights."""
    match = _INDEX.match(file)
    if match is None:
        return None
    stem, variant = _stem_and_variant(match["stem"], match["format"])
    return SetName(match["format"].lower(), stem, variant or match["variant"] or "", 0)


def are_whole(files: Iterable[str]) -> bool:
    """Return False if the names of files say that these are only some of the shards."""
    names = list(files)
    return not any(group.missing for group in sets_of(names, {name.rpartition(".")[2].lower() for name in names}))


def is_beside(file: str) -> bool:
    """Return True for weights that are no whole model: adapters, projectors of images, importance matrices."""
    return _BESIDE.search(file) is not None


def is_piece(file: str) -> bool:
    """Return True for a file that may hold a part of each matrix (model parallelism), by its name."""
    return _PIECE.search(file) is not None


def ranks_beside(file: str, names: Iterable[str]) -> int:
    """Return how many ranks wrote a folder in which a file is that of one of them; 0 for any other file.

    Ranks count from 0 without a gap: `rank16.safetensors` and `rank32.safetensors` are adapters of these ranks.

    Examples:
        >>> ranks_beside("rank0.safetensors", ["config.json", "rank0.safetensors", "rank1.safetensors"])
        2
    """
    if _OF_RANK.match(file) is None:
        return 0
    ranks = {int(match[1] or match[2]) for name in names if (match := _OF_RANK.match(name))}
    return len(ranks) if len(ranks) > 1 and ranks == set(range(len(ranks))) else 0


def _stem_and_variant(stem: str, suffix: str) -> tuple[str, str]:
    stem = stem.removesuffix(f".{suffix}")  # model.safetensors-00001-of-00002.safetensors
    main, dot, variant = stem.partition(".")
    return (main, variant) if dot and main in MAIN else (stem.rstrip("-_"), "")
