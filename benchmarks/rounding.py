"""What rounding by inputs gains over rounding to nearest: GPTQ for integers, an importance matrix for ggml's types.

    python scripts/fetch_real_weights.py
    python -m scripts.make_smollm2_folder
    python -m benchmarks.byte_llama --device cuda
    python -m benchmarks.rounding        # about a quarter of an hour of one core

Every linear layer but lm_head is rounded to one format, to nearest and by its inputs on another text (16,384 tokens of
byte-llama, of the others 4,096); GPTQ of the small models also block by block, each by the inputs that the rounded
blocks before it give. KL is measured on the same tokens for both, with the interval of their difference over
blocks of tokens, and the relative errors of all weights. Writes rounding.txt and rounding.csv into benchmarks/results.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import gguf
import torch
from alpha_integrations import ggml_rounding
from torch import Tensor, nn

from alpha_callbacks.checkpoints.locate import EMBEDDED
from alpha_callbacks.evaluation.input_moments import input_products, input_squares
from alpha_callbacks.evaluation.language_model import load_language_model
from alpha_callbacks.evaluation.paired import paired_difference
from alpha_callbacks.precisions.gptq_rounding import gptq_codes
from alpha_callbacks.precisions.registry import get_precision
from alpha_callbacks.weights.layer_names import block_index
from benchmarks import byte_llama, texts
from benchmarks.result_lines import run_models
from scripts.fetch_real_weights import GENSIM, SMOLLM2, fetch
from scripts.make_smollm2_folder import make_folder

CALIBRATION = 4096
INTEGERS, TYPES = ("int4_g32", "int3_g32"), ("gguf_q4_0", "gguf_iq4_nl", "gguf_q4_k", "gguf_q3_k")
_FEWER = ("int4_g32", "gguf_q4_0")  # for the larger model


@dataclass(frozen=True)
class Line:
    """One format rounded in two ways, on one text.

    Attributes:
        model: its name.
        format: of every linear layer but lm_head.
        way: "gptq", "gptq in turn" (the inputs of a block are those that the rounded ones before it give) or "imatrix".
        text: its name.
        nearest: KL(base || rounded to nearest), nats a token.
        kl: the same, rounded by inputs.
        difference: that minus the one of nearest.
        low: end of its 95 % interval.
        high: the other end.
        error_nearest: relative error of all weights together.
        error: the same, rounded by inputs.
        tokens: predicted.
    """

    model: str
    format: str
    way: str
    text: str
    nearest: float
    kl: float
    difference: float
    low: float
    high: float
    error_nearest: float
    error: float
    tokens: int


@dataclass(frozen=True)
class Subject:
    """A model, the windows of tokens that it is calibrated and judged on, and the formats that are tried."""

    name: str
    model: nn.Module
    calibration: Tensor
    judged: Mapping[str, Tensor]
    formats: tuple[str, ...] = (*INTEGERS, *TYPES)
    in_turn: bool = True  # GPTQ block by block too, with as many passes over the text


def layers_of(model: nn.Module) -> dict[str, nn.Linear]:
    """Return the linear layers that are rounded."""
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    return {name: module for name, module in linear.items() if not name.endswith("lm_head")}


def nearest(layers: Mapping[str, nn.Linear], precision: str) -> dict[str, Tensor]:
    """Return the weights rounded to nearest."""
    found = get_precision(precision)
    return {n: found.round_trip(layer.weight, float(layer.weight.abs().max())).float() for n, layer in layers.items()}


def by_gptq(subject: Subject, layers: Mapping[str, nn.Linear], formats: list[str]) -> dict[str, dict[str, Tensor]]:
    """Return format -> the weights rounded by GPTQ; the products of inputs are gathered once for all."""
    made: dict[str, dict[str, Tensor]] = {name: {} for name in formats}
    for layer, products in input_products(subject.model, layers, subject.calibration):
        for name in formats:
            encoding = get_precision(name).encoding
            assert encoding is not None
            codes = gptq_codes(layers[layer].weight, products, encoding, scale_dtype=torch.bfloat16)
            made[name][layer] = codes.weight()
    return made


def by_gptq_in_turn(
    subject: Subject, layers: Mapping[str, nn.Linear], formats: list[str]
) -> dict[str, dict[str, Tensor]]:
    """Return what `by_gptq` does, with the inputs of each block gathered after the blocks before it were rounded."""
    blocks: dict[int | None, dict[str, nn.Linear]] = {}
    for name, layer in layers.items():
        blocks.setdefault(block_index(name), {})[name] = layer
    originals = {name: layer.weight.clone() for name, layer in layers.items()}
    made: dict[str, dict[str, Tensor]] = {name: {} for name in formats}
    for name in formats:
        for block in blocks.values():
            made[name].update(by_gptq(subject, block, [name])[name])
            put(block, made[name])
        put(layers, originals)
    return made


def by_importance(
    subject: Subject, layers: Mapping[str, nn.Linear], formats: list[str]
) -> dict[str, dict[str, Tensor]]:
    """Return format -> the weights rounded by ggml with the mean squares of inputs."""
    squares = input_squares(subject.model, layers, subject.calibration)
    made: dict[str, dict[str, Tensor]] = {name: {} for name in formats}
    for name in formats:
        kind = gguf.GGMLQuantizationType[name.removeprefix("gguf_").upper()]
        for layer, module in layers.items():
            stored = ggml_rounding.rounded(module.weight.numpy(), kind, squares[layer].numpy())
            made[name][layer] = torch.from_numpy(gguf.dequantize(stored, kind))
    return made


@torch.no_grad()
def kl_of(model: nn.Module, windows: Tensor, base: list[Tensor]) -> Tensor:
    """Return KL(base || model) of every token, in fp64; fills `base` with log-probabilities if it is empty."""
    first, found = not base, list[Tensor]()
    for i, window in enumerate(windows):
        ours = model(input_ids=window[None], use_cache=False).logits[0, :-1].float().log_softmax(-1)
        if first:
            base.append(ours)
        found += [(p.double().exp() * (p.double() - q.double())).sum(-1) for p, q in zip(base[i], ours, strict=True)]
    return torch.stack(found)


def judge(subject: Subject) -> Iterator[Line]:
    """Yield the lines of one model."""
    layers = layers_of(subject.model)
    fit = {n for n in subject.formats if all(get_precision(n).fits(layer.in_features) for layer in layers.values())}
    integers, types = ([n for n in group if n in fit] for group in (INTEGERS, TYPES))
    ways = [("gptq", by_gptq(subject, layers, integers)), ("imatrix", by_importance(subject, layers, types))]
    if subject.in_turn:
        ways.append(("gptq in turn", by_gptq_in_turn(subject, layers, integers)))
    originals = {name: layer.weight.clone() for name, layer in layers.items()}
    for text, windows in subject.judged.items():
        base: list[Tensor] = []
        kl_of(subject.model, windows, base)
        for way, made in ways:
            for name, by_inputs in made.items():
                plain = nearest(layers, name)
                before, after = (error_of(originals, weights) for weights in (plain, by_inputs))
                kls = [_kl_with(subject.model, layers, weights, windows, base) for weights in (plain, by_inputs)]
                put(layers, originals)
                d = paired_difference(kls[1], kls[0])
                yield Line(
                    subject.name, name, way, text, float(kls[0].mean()), float(kls[1].mean()), d.mean, d.low, d.high,
                    before, after, len(kls[0]),
                )  # fmt: skip


def _kl_with(
    model: nn.Module,
    layers: Mapping[str, nn.Linear],
    weights: Mapping[str, Tensor],
    windows: Tensor,
    base: list[Tensor],
) -> Tensor:
    put(layers, weights)
    return kl_of(model, windows, base)


def put(layers: Mapping[str, nn.Linear], weights: Mapping[str, Tensor]) -> None:
    """Set the weights of layers."""
    for name, layer in layers.items():
        layer.weight.data.copy_(weights[name])


def error_of(originals: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> float:
    """Return the relative error of all weights together."""
    wrong, all_of_it = 0.0, 0.0
    for name, original in originals.items():
        wrong += float((weights[name] - original).double().square().sum())
        all_of_it += float(original.double().square().sum())
    return math.sqrt(wrong / all_of_it)


def subjects(cache: Path, tokens: int, names: list[str]) -> Iterator[Subject]:
    """Yield the models that were asked for, one at a time in memory."""
    news = fetch(GENSIM, "lee_background.cor", cache)
    judged = {"docs": texts.long_documentation(), "news": texts.long_news(news)}
    if "byte-llama" in names:
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(byte_llama.make_model(cache, news), dtype=torch.float32)
        windows = {name: byte_llama.windows(text, 2 * tokens) for name, text in judged.items()}
        calibration = byte_llama.windows(texts.long_calibration(), 4 * CALIBRATION)
        yield Subject("byte-llama-5m", model.eval().requires_grad_(False), calibration, windows)
    places: dict[str, tuple[str, Callable[[], Path], tuple[str, ...]]] = {
        "tiny": ("embedded", lambda: EMBEDDED, (*INTEGERS, *TYPES)),
        "smollm2": ("SmolLM2-135M", lambda: make_folder(fetch(SMOLLM2, "*.gguf", cache), cache), _FEWER),
    }
    for key, (title, place, formats) in places.items():
        if key in names:
            loaded = load_language_model(place(), dtype="fp32")
            calibration = loaded.windows_of(texts.long_calibration(), tokens=CALIBRATION)
            windows = {name: loaded.windows_of(text, tokens=tokens) for name, text in judged.items()}
            yield Subject(title, loaded.model, calibration, windows, formats, in_turn=key == "tiny")


def main() -> None:
    """Judge all formats, print and write."""

    def judged(cache: Path, tokens: int, names: list[str]) -> Iterator[Line]:
        for subject in subjects(cache, tokens, names):
            yield from judge(subject)

    legend = (
        "KL in nats a token, to nearest -> by inputs; their difference and its 95 % interval over blocks of tokens; "
        "relative error of the weights"
    )
    run_models("rounding", "Rounding by inputs against rounding to nearest.", judged, Line, shown, legend)


def shown(line: Line) -> str:
    """Return a line as text."""
    return (
        f"{line.model:14} {line.format:12} {line.way:12} {line.text:5} KL {line.nearest:.5f} -> {line.kl:.5f}  "
        f"{line.difference:+.5f} [{line.low:+.5f}, {line.high:+.5f}]  error "
        f"{line.error_nearest:.4f} -> {line.error:.4f} ({line.tokens} tokens)"
    )


if __name__ == "__main__":
    main()
