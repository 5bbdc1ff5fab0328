"""Write a random checkpoint with the tensor names and shapes of Llama 3.1 8B.

The weights are not those of Llama: they are seeded random numbers with heavy-tailed spectra.  The folder serves to
measure the time and the memory of a checkpoint scan without a download::

    python scripts/make_llama31_shapes.py --output llama31_8b_shapes

The full size is 291 bf16 tensors, 16.1 GB on disk, or twice that with ``--dtype fp32``.  Every file is written tensor
after tensor in small pieces, so the memory needed does not grow with the size of a tensor or a shard.

Each matrix is a Gaussian matrix G whose shorter side is scaled: W = G diag(s) or diag(s) G.  The squared factors s^2
are the quantiles of a Pareto distribution with index a, in random order.  The eigenvalues of W^T W inherit that tail,
so the Hill alpha (k_frac 0.1) is 1 + a or up to 1 more: about 2.5 to 6.  For G alone it is 6.4 in the square matrices
and 10 to 25 in the others.
"""

import argparse
import hashlib
import json
import math
import resource
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

HIDDEN_SIZE = 4096
INTERMEDIATE_SIZE = 14336
VOCAB_SIZE = 128256
NUM_LAYERS = 32
NUM_HEADS = 32
NUM_KEY_VALUE_HEADS = 8
SCALES = (1, 2, 4, 8, 16, 32, 64)  # beyond 64 the head dimension is odd, which rotary embeddings do not allow

STD = 0.02  # root mean square of every matrix: the initializer range of Llama
TAIL_INDEX_RANGE = (1.5, 4.0)  # of the squared factors; one value is drawn for each matrix
NORM_MEAN, NORM_SIGMA = 0.5, 0.2  # median and log-spread of the rms-norm weights
DTYPES = {"bf16": (torch.bfloat16, "BF16"), "fp32": (torch.float32, "F32")}  # name -> torch's, that of safetensors
PIECE_VALUES = 1 << 22  # part of the recipe: another size gives other random numbers
HEADER_ALIGNMENT = 8  # safetensors pads the header with spaces to a multiple of this

Shapes = dict[str, tuple[int, ...]]


def llama_config(*, layers: int, scale: int) -> dict[str, Any]:
    """Return the content of ``config.json``.

    Args:
        layers: The number of decoder layers.
        scale: The divisor of the hidden, intermediate and vocabulary sizes; one of ``SCALES``.

    Returns:
        The configuration of the Llama 3.1 8B base model, scaled.
    """
    vocab_size = VOCAB_SIZE // scale
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": vocab_size - 256,
        "eos_token_id": vocab_size - 255,
        "hidden_act": "silu",
        "hidden_size": HIDDEN_SIZE // scale,
        "initializer_range": STD,
        "intermediate_size": INTERMEDIATE_SIZE // scale,
        "max_position_embeddings": 131072,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": NUM_HEADS,
        "num_hidden_layers": layers,
        "num_key_value_heads": NUM_KEY_VALUE_HEADS,
        "pretraining_tp": 1,
        "rms_norm_eps": 1e-05,
        "rope_scaling": {
            "factor": 8.0,
            "high_freq_factor": 4.0,
            "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192,
            "rope_type": "llama3",
        },
        "rope_theta": 500000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": vocab_size,
    }


def tensor_shapes(config: dict[str, Any]) -> Shapes:
    """Return the shape of every tensor, by name, in alphabetical order.

    Args:
        config: The content of ``config.json``.

    Returns:
        Shapes by name; ``model.layers.10`` comes before ``model.layers.2``.
    """
    hidden, intermediate, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    key_value = hidden // config["num_attention_heads"] * config["num_key_value_heads"]
    shapes: Shapes = {
        "lm_head.weight": (vocab, hidden),
        "model.embed_tokens.weight": (vocab, hidden),
        "model.norm.weight": (hidden,),
    }
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}"
        shapes |= {
            f"{prefix}.input_layernorm.weight": (hidden,),
            f"{prefix}.mlp.down_proj.weight": (hidden, intermediate),
            f"{prefix}.mlp.gate_proj.weight": (intermediate, hidden),
            f"{prefix}.mlp.up_proj.weight": (intermediate, hidden),
            f"{prefix}.post_attention_layernorm.weight": (hidden,),
            f"{prefix}.self_attn.k_proj.weight": (key_value, hidden),
            f"{prefix}.self_attn.o_proj.weight": (hidden, hidden),
            f"{prefix}.self_attn.q_proj.weight": (hidden, hidden),
            f"{prefix}.self_attn.v_proj.weight": (key_value, hidden),
        }
    return dict(sorted(shapes.items()))


def split_shards(shapes: Shapes, count: int) -> list[Shapes]:
    """Cut the tensors, in their given order, into shards of about equal size.

    Args:
        shapes: Shapes by name.
        count: The number of shards, at most the number of tensors.

    Returns:
        One mapping for each shard; none is empty.
    """
    total = value_count(shapes)
    shards: list[Shapes] = [{}]
    written = 0
    for position, (name, shape) in enumerate(shapes.items()):
        is_full = written >= total * len(shards) / count
        is_last_chance = len(shapes) - position == count - len(shards)  # one tensor left for each further shard
        if shards[-1] and len(shards) < count and (is_full or is_last_chance):
            shards.append({})
        shards[-1][name] = shape
        written += math.prod(shape)
    return shards


def value_count(shapes: Shapes) -> int:
    """Return the number of values of all tensors."""
    return sum(math.prod(shape) for shape in shapes.values())


def tensor_pieces(name: str, shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> Iterator[Tensor]:
    """Yield the values of one tensor, a block of rows at a time.

    Args:
        name: The name of the tensor; with ``seed`` it fixes the values.
        shape: One size for a norm weight, two for a matrix.
        seed: The seed of the whole checkpoint.
        dtype: Of the values, which are rounded from fp32.

    Yields:
        Tensors that, concatenated along the first dimension, are the tensor.
    """
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))
    if len(shape) == 1:
        yield (NORM_MEAN * torch.randn(shape, generator=generator).mul_(NORM_SIGMA).exp_()).to(dtype)
        return
    rows, columns = shape
    factors = tail_factors(min(shape), generator)
    step = max(1, PIECE_VALUES // columns)
    for start in range(0, rows, step):
        piece = torch.randn(min(step, rows - start), columns, generator=generator)
        piece *= factors if columns <= rows else factors[start : start + step, None]
        yield piece.to(dtype)


def tail_factors(count: int, generator: torch.Generator) -> Tensor:
    """Return random factors with Pareto-distributed squares and root mean square ``STD``.

    The quantiles are taken at fixed levels, so the largest factor is bounded and the tail the same in every draw.

    Args:
        count: The number of factors.
        generator: The source of the tail index and of the order.

    Returns:
        A float32 tensor of shape ``(count,)``.
    """
    low, high = TAIL_INDEX_RANGE
    index = low + (high - low) * torch.rand((), generator=generator, dtype=torch.float64).item()
    levels = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    squares = levels ** (-1 / index)
    squares *= STD**2 / squares.mean()
    return squares.sqrt()[torch.randperm(count, generator=generator)].float()


def write_shard(path: Path, shapes: Shapes, seed: int, dtype: str = "bf16") -> None:
    """Write one safetensors file, piece by piece.

    Args:
        path: The file; it has this name only once it is complete.
        shapes: Shapes by name, in the order of the data.
        seed: The seed of the whole checkpoint.
        dtype: One of ``DTYPES``.
    """
    values, stored_as = DTYPES[dtype]
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + math.prod(shape) * values.itemsize
        header[name] = {"dtype": stored_as, "shape": shape, "data_offsets": [start, end]}
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % HEADER_ALIGNMENT)
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little"))
        file.write(encoded)
        for name, shape in shapes.items():
            write_tensor(file, tensor_pieces(name, shape, seed, values))
    partial.rename(path)


def write_tensor(file: BinaryIO, pieces: Iterator[Tensor]) -> None:
    """Append the bytes of ``pieces`` to ``file``, which is little-endian like safetensors on any usual machine."""
    for piece in pieces:
        file.write(piece.view(torch.uint8).numpy().data)


def write_checkpoint(output: Path, *, layers: int, scale: int, shards: int, seed: int, dtype: str = "bf16") -> int:
    """Write the folder: shards, index and config.

    Args:
        output: The folder to write to.
        layers: The number of decoder layers.
        scale: The divisor of the hidden, intermediate and vocabulary sizes.
        shards: The number of safetensors files.
        seed: The seed of all weights.
        dtype: One of ``DTYPES``.

    Returns:
        The size of the tensors in bytes.

    Raises:
        ValueError: There are more shards than tensors.
        OSError: ``output`` is not empty, or the disk is too small.
    """
    config = llama_config(layers=layers, scale=scale)
    shapes = tensor_shapes(config)
    total = value_count(shapes) * DTYPES[dtype][0].itemsize
    if shards > len(shapes):
        raise ValueError(f"--shards: expected at most {len(shapes)}, the number of tensors, got {shards}.")
    output.mkdir(parents=True, exist_ok=True)
    if any(output.iterdir()):
        raise OSError(f"{output}: expected a new or empty folder. Remove its files or choose another --output.")
    free = shutil.disk_usage(output).free
    if free < total:
        raise OSError(f"{output}: expected {total / 1e9:.1f} GB of free disk, got {free / 1e9:.1f} GB.")

    write_json(output / "config.json", config)
    weight_map: dict[str, str] = {}
    started = time.monotonic()
    for number, shard in enumerate(split_shards(shapes, shards), start=1):
        path = output / f"model-{number:05}-of-{shards:05}.safetensors"
        write_shard(path, shard, seed, dtype)
        weight_map |= dict.fromkeys(shard, path.name)
        print(
            f"{path.name}: {len(shard)} tensors, {path.stat().st_size / 1e9:.2f} GB, "
            f"{time.monotonic() - started:.0f} s",
            file=sys.stderr,
            flush=True,
        )
    write_json(output / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map})
    return total


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write ``content`` in the layout that the Hugging Face libraries use."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def positive_int(text: str) -> int:
    """Parse a command-line integer of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected an integer of at least 1, got {text}")
    return value


def main() -> int:
    """Write the checkpoint and report time and memory; return the exit code."""
    parser = argparse.ArgumentParser(description="Write a random checkpoint with the shapes of Llama 3.1 8B.")
    parser.add_argument("--output", type=Path, required=True, help="new or empty folder to write to")
    parser.add_argument("--layers", type=positive_int, default=NUM_LAYERS, help="decoder layers (default: %(default)s)")
    parser.add_argument(
        "--scale-down",
        type=int,
        choices=SCALES,
        default=1,
        help="divide the hidden, intermediate and vocabulary sizes, for tests (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of all weights (default: %(default)s)")
    parser.add_argument("--shards", type=positive_int, default=4, help="safetensors files (default: %(default)s)")
    parser.add_argument("--dtype", choices=DTYPES, default="bf16", help="of the values (default: %(default)s)")
    parser.add_argument("--threads", type=positive_int, default=1, help="torch CPU threads (default: %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    started = time.monotonic()
    try:
        total = write_checkpoint(
            args.output,
            layers=args.layers,
            scale=args.scale_down,
            shards=args.shards,
            seed=args.seed,
            dtype=args.dtype,
        )
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB
    print(
        f"{total / 1e9:.2f} GB in {time.monotonic() - started:.0f} s, peak memory {peak / 1e9:.2f} GB", file=sys.stderr
    )
    print(args.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
