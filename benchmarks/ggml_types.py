"""llama.cpp's K- and I-quants beside this package's formats of about the same bits, on the layers that hold them all.

    python scripts/fetch_real_weights.py
    python -m scripts.make_smollm2_folder
    python -m benchmarks.byte_llama --device cuda
    python -m benchmarks.ggml_types      # about ten minutes of one core

Blocks of K-quants are 256 columns, which few layers of small models have, so only those with a multiple of 256 columns
are rounded (of the embedded model and SmolLM2 the down projections), all to one format, and the others stay. Types are
rounded by ggml's own library: to nearest, and with an importance matrix; integers also by GPTQ. KL is measured on the
same tokens for all, and compared with that of int4 to nearest. Writes ggml_types.txt and ggml_types.csv into
benchmarks/results.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor, nn

from alpha_callbacks.evaluation.paired import paired_difference
from alpha_callbacks.precisions.registry import get_precision
from benchmarks.result_lines import run_models
from benchmarks.rounding import Subject, by_gptq, by_importance, error_of, kl_of, layers_of, nearest, put, subjects

BLOCK = 256
REFERENCE = "int4_g32"
INTEGERS = ("int4_g32", "int3_g32")
OWN = (*INTEGERS, "nf4", "mxfp4")
TYPES = (
    "gguf_q4_0", "gguf_iq4_nl", "gguf_iq4_xs", "gguf_q4_k", "gguf_q3_k", "gguf_q2_k", "gguf_iq3_s", "gguf_iq3_xxs"
)  # fmt: skip
_FEWER = ("gguf_q4_0", "gguf_iq4_nl", "gguf_q4_k", "gguf_q3_k")  # of the larger model: IQ3 alone would take an hour
_LARGE = "SmolLM2-135M"


@dataclass(frozen=True)
class Line:
    """One format rounded in one way, on one text.

    Attributes:
        model: its name.
        format: of every layer that is rounded.
        way: "nearest", "gptq" or "imatrix".
        text: its name.
        bits: effective bits of one weight.
        kl: KL(base || rounded), nats a token.
        difference: that minus the one of the reference to nearest.
        low: end of its 95 % interval.
        high: the other end.
        error: relative error of all rounded weights together.
        tokens: predicted.
        share: of the weights of all linear layers but lm_head, those that are rounded.
    """

    model: str
    format: str
    way: str
    text: str
    bits: float
    kl: float
    difference: float
    low: float
    high: float
    error: float
    tokens: int
    share: float


def judge(subject: Subject) -> Iterator[Line]:
    """Yield the lines of one model, in order of bits."""
    every = layers_of(subject.model)
    layers = {name: layer for name, layer in every.items() if layer.in_features % BLOCK == 0}
    share = _weights(layers) / _weights(every)
    types = list(_FEWER if subject.name == _LARGE else TYPES)
    integers = list(INTEGERS[:1] if subject.name == _LARGE else INTEGERS)
    made = {("nearest", name): nearest(layers, name) for name in (*OWN, *types)}
    made |= {("gptq", name): weights for name, weights in by_gptq(subject, layers, integers).items()}
    made |= {("imatrix", name): weights for name, weights in by_importance(subject, layers, types).items()}
    originals = {name: layer.weight.clone() for name, layer in layers.items()}
    some = next(iter(layers.values()))
    bits = {name: get_precision(name).effective_bits(some.out_features, some.in_features) for _, name in made}
    for text, windows in subject.judged.items():
        base: list[Tensor] = []
        kl_of(subject.model, windows, base)
        found = dict[tuple[str, str], Tensor]()
        for key, weights in made.items():
            put(layers, weights)
            found[key] = kl_of(subject.model, windows, base)
        put(layers, originals)
        for way, name in sorted(made, key=lambda key: (-bits[key[1]], key[1], key[0])):
            kl = found[way, name]
            d = paired_difference(kl, found["nearest", REFERENCE])
            yield Line(
                subject.name, name, way, text, bits[name], float(kl.mean()), d.mean, d.low, d.high,
                error_of(originals, made[way, name]), len(kl), share,
            )  # fmt: skip


def _weights(layers: dict[str, nn.Linear]) -> int:
    return sum(layer.weight.numel() for layer in layers.values())


def shown(line: Line) -> str:
    """Return a line as text."""
    return (
        f"{line.model:14} {line.bits:.3f} bits  {line.format:13} {line.way:8} {line.text:5} KL {line.kl:.5f}  "
        f"{line.difference:+.5f} [{line.low:+.5f}, {line.high:+.5f}]  error {line.error:.4f} ({line.tokens} tokens, "
        f"{line.share:.0%} of weights)"
    )


def main() -> None:
    """Judge all formats, print and write."""

    def judged(cache: Path, tokens: int, names: list[str]) -> Iterator[Line]:
        for subject in subjects(cache, tokens, names):
            few = {text: windows[:1] for text, windows in subject.judged.items()}
            yield from judge(replace(subject, judged=few if subject.name == _LARGE else subject.judged))

    legend = (
        f"KL in nats a token; difference from {REFERENCE} to nearest on the same tokens, and its 95 % interval over "
        "blocks of them; relative error of the rounded weights"
    )
    run_models("ggml_types", "K- and I-quants beside formats of the same bits.", judged, Line, shown, legend)


if __name__ == "__main__":
    main()
