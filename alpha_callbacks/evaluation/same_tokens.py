"""Whether a token id means the same to a checkpoint as to the model that it is compared with."""

from collections.abc import Iterable, Mapping
from typing import Any

from alpha_callbacks.checkpoints.gguf_header import read_gguf_header, texts_of
from alpha_callbacks.errors import CheckpointError
from alpha_callbacks.evaluation.causal_model import CausalModel
from alpha_callbacks.evaluation.language_model import LanguageModel
from alpha_callbacks.utils.own_logger import own_logger

_log = own_logger(__name__)

_VOCABULARIES = (
    "tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "tekken.json", "tiktoken.model",
)  # fmt: skip
_GGUF_TOKENS = "tokenizer.ggml.tokens"


def require_same_tokens(found: CausalModel, of: LanguageModel) -> None:
    """Refuse a checkpoint that numbers its tokens otherwise; say which have other texts only.

    A checkpoint without a vocabulary is taken to have the model's. Ids that only one of them has are padding.

    Raises:
        CheckpointError: a text of one is a text of the other under another id.
    """
    theirs = _tokens(found)
    base = of.loaded_from
    ours = _tokens_of_gguf(base) if base is not None and base.gguf_file else _by_id(of.tokenizer)
    odd = sorted(i for i in ours.keys() & theirs.keys() if ours[i] != theirs[i])
    if not odd:
        return
    texts = set(ours.values())
    moved = [i for i in odd if theirs[i] in texts]
    first = (moved or odd)[0]
    what = (
        f"{len(odd)} of {len(ours)} ids stand for other texts: {first} is {ours[first]!r} in the model and "
        f"{theirs[first]!r} in the checkpoint"
    )
    if moved:
        raise CheckpointError(
            f"{found.source}: expected the tokens of {of.source}, got others; {what}. Compare a model with checkpoints "
            "that have its vocabulary."
        )
    _log.warning("%s: %s. Its KL means little where the text has these.", found.source, what)


def _tokens(found: CausalModel) -> Mapping[int, str]:
    """Return id -> text of the tokens of a checkpoint; none where it brings no vocabulary, or one nobody can read."""
    if found.gguf_file:
        return _tokens_of_gguf(found)
    if found.on_disk and not any((found.folder / name).is_file() for name in _VOCABULARIES):
        return {}
    try:
        with found.loading("a tokenizer"):
            return _by_id(found.tokenizer())
    except CheckpointError as error:
        _log.warning("%s Whether its tokens are those of the model is not known.", error)
        return {}


def _tokens_of_gguf(found: CausalModel) -> Mapping[int, str]:
    """Return id -> text as the file has it: transformers adds tokens to it, and renames some."""
    return _plain(enumerate(texts_of(read_gguf_header(found.folder / found.gguf_file), _GGUF_TOKENS)))


def _by_id(tokenizer: Any) -> Mapping[int, str]:
    return _plain((i, text) for text, i in tokenizer.get_vocab().items())


def _plain(tokens: Iterable[tuple[int, str]]) -> Mapping[int, str]:
    """Return the texts with one sign for a space; the converter of llama.cpp writes some with another."""
    return {i: text.replace("\u2581", " ") for i, text in tokens}
