"""Which files are the checkpoint: the rule, against listings as they lie on the hub and as trainers leave them."""

from collections.abc import Mapping

import pytest

from alpha_callbacks.checkpoints.file_names import are_whole, is_piece
from alpha_callbacks.checkpoints.file_sets import FileSet, choose_files, set_around
from alpha_callbacks.errors import CheckpointError

Indexes = Mapping[str, Mapping[str, str]]


def shards(stem: str, count: int, suffix: str = "safetensors", digits: int = 5, first: int = 1) -> list[str]:
    return [f"{stem}-{i:0{digits}d}-of-{count:0{digits}d}.{suffix}" for i in range(first, count + first)]


def choose(names: list[str], indexes: Indexes | None = None) -> FileSet:
    found = choose_files(names, "org/model", lambda index: (indexes or {})[index])
    assert found is not None
    return found


def index(*files: str) -> dict[str, str]:
    return {f"layers.{i}.weight": file for i, file in enumerate(files)}


TWO, INDEX = shards("model", 2), "model.safetensors.index.json"

# what lies there, the indexes in it, the files that are read
CHOICES: dict[str, tuple[list[str], Indexes, list[str]]] = {
    "Llama-3.1-8B": ([*shards("model", 4), INDEX], {INDEX: index(*shards("model", 4))}, shards("model", 4)),
    "Mistral-7B: consolidated beside shards": (
        [*shards("model", 3), INDEX, "consolidated.safetensors"],
        {INDEX: index(*shards("model", 3))},
        shards("model", 3),
    ),
    "Mistral-Large: two indexes, both sets": (
        [*TWO, INDEX, *shards("consolidated", 3), "consolidated.safetensors.index.json"],
        {INDEX: index(*TWO), "consolidated.safetensors.index.json": index(*shards("consolidated", 3))},
        TWO,
    ),
    "Mistral-Large: the shards of one index only": (
        [*TWO, INDEX, "consolidated.safetensors.index.json"],
        {INDEX: index(*TWO), "consolidated.safetensors.index.json": index(*shards("consolidated", 3))},
        TWO,
    ),
    "Pixtral: consolidated only": (["consolidated.safetensors", "params.json"], {}, ["consolidated.safetensors"]),
    "flan-t5-xl: indexes of Flax and TensorFlow": (
        [*TWO, INDEX, "flax_model.msgpack.index.json", "tf_model.h5.index.json", "flax_model-00001-of-00002.msgpack"],
        {INDEX: index(*TWO)},
        TWO,
    ),
    "DeepSeek-R1: six digits in the total": (
        ["model-00001-of-000002.safetensors", "model-00002-of-000002.safetensors", INDEX],
        {INDEX: index("model-00001-of-000002.safetensors", "model-00002-of-000002.safetensors")},
        ["model-00001-of-000002.safetensors", "model-00002-of-000002.safetensors"],
    ),
    "a multi-token head in a file of its own": (
        [*TWO, "mtp.safetensors", INDEX],
        {INDEX: index(*TWO, "mtp.safetensors")},
        [*TWO, "mtp.safetensors"],
    ),
    "gpt-oss original: two dashes": (shards("model-", 7), {}, shards("model-", 7)),
    "names with the suffix before the number": (shards("model.safetensors", 2), {}, shards("model.safetensors", 2)),
    "numbers from 0": (shards("model", 2, first=0), {}, shards("model", 2, first=0)),
    "MLX: an index of a single file": (
        ["model.safetensors", INDEX],
        {INDEX: index("model.safetensors")},
        ["model.safetensors"],
    ),
    "MLX: weights.NN": (
        ["weights.00.safetensors", "weights.01.safetensors", "weights.safetensors.index.json"],
        {"weights.safetensors.index.json": index("weights.00.safetensors", "weights.01.safetensors")},
        ["weights.00.safetensors", "weights.01.safetensors"],
    ),
    "bge-m3: heads beside pytorch_model.bin": (
        ["pytorch_model.bin", "colbert_linear.pt", "sparse_linear.pt"],
        {},
        ["pytorch_model.bin"],
    ),
    "stable-diffusion's unet": (
        [
            "diffusion_pytorch_model.safetensors",
            "diffusion_pytorch_model.fp16.safetensors",
            "diffusion_pytorch_model.bin",
        ],
        {},
        ["diffusion_pytorch_model.safetensors"],
    ),
    "only one variant": (["model.fp16.safetensors"], {}, ["model.fp16.safetensors"]),
    "a variant in shards": (
        [*shards("model.fp16", 2), "model.safetensors.index.fp16.json"],
        {"model.safetensors.index.fp16.json": index(*shards("model.fp16", 2))},
        shards("model.fp16", 2),
    ),
    "a variant in shards, the older order": (
        ["model-00001-of-00002.fp16.safetensors", "model-00002-of-00002.fp16.safetensors"],
        {},
        ["model-00001-of-00002.fp16.safetensors", "model-00002-of-00002.fp16.safetensors"],
    ),
    "an index and a single file": ([*TWO, INDEX, "model.safetensors"], {INDEX: index(*TWO)}, TWO),
    "a single file and shards without an index": ([*TWO, "model.safetensors"], {}, ["model.safetensors"]),
    "a single file and the index of shards that are gone": (
        ["model.safetensors", INDEX, "pytorch_model.bin.index.json"],
        {INDEX: index(*TWO), "pytorch_model.bin.index.json": index(*shards("pytorch_model", 2, "bin"))},
        ["model.safetensors"],
    ),
    "an index of another build": ([*TWO, INDEX], {INDEX: index(*shards("model", 5))}, TWO),
    "an index that names some of the shards": ([*TWO, INDEX], {INDEX: index(TWO[0])}, TWO),
    "an index of pruned shards": (
        shards("model", 4)[:3] + [INDEX],
        {INDEX: index(*shards("model", 4)[:3])},
        shards("model", 4)[:3],
    ),
    "whole .bin, partial safetensors": (
        [TWO[0], INDEX, "pytorch_model.bin"],
        {INDEX: index(*TWO)},
        ["pytorch_model.bin"],
    ),
    "an adapter beside shards": ([*TWO, "adapter_model.safetensors"], {}, TWO),
    "an adapter alone": (["adapter_model.safetensors"], {}, ["adapter_model.safetensors"]),
    "gemma: a projector beside GGUF": (
        ["gemma-3-4b-it-q4_0.gguf", "mmproj-model-f16-4B.gguf"],
        {},
        ["gemma-3-4b-it-q4_0.gguf"],
    ),
    "GGUF beside safetensors": ([*TWO, "gemma-7b.gguf"], {}, TWO),
    "split GGUF": (shards("DeepSeek-R1-Q4_K_M", 3, "gguf"), {}, shards("DeepSeek-R1-Q4_K_M", 3, "gguf")),
    "Meta: one file for each GPU": (
        ["consolidated.00.pth", "consolidated.01.pth"],
        {},
        ["consolidated.00.pth", "consolidated.01.pth"],
    ),
    "Trainer's state": (
        ["model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state_0.pth", "scaler.pt", "training_args.bin"],
        {},
        ["model.safetensors"],
    ),
    "OpenVINO beside": (["pytorch_model.bin", "openvino_model.bin"], {}, ["pytorch_model.bin"]),
    "a small file that sorts first": (["1_dense.safetensors", "pytorch_model.bin"], {}, ["pytorch_model.bin"]),
    "LTX: two splits of one model": (
        [*shards("diffusion_pytorch_model", 2), *shards("diffusion_pytorch_model", 4), f"diffusion_pytorch_{INDEX}"],
        {f"diffusion_pytorch_{INDEX}": index(*shards("diffusion_pytorch_model", 4))},
        shards("diffusion_pytorch_model", 4),
    ),
    "a head under a number of its own, which the index forgot": (
        [*shards("model", 3)[:2], "model-mtp-of-00003.safetensors", INDEX],
        {INDEX: index(*shards("model", 3)[:2])},
        shards("model", 3)[:2],
    ),
    "jina-reranker: a projector that the index forgot": (
        ["model.safetensors", "projector.safetensors", INDEX],
        {INDEX: index("model.safetensors")},
        ["model.safetensors"],
    ),
    "an index of something else": (["model.safetensors", "a_other.index.json"], {}, ["model.safetensors"]),
}


@pytest.mark.parametrize("case", CHOICES)
def test_choice(case: str) -> None:
    names, indexes, wanted = CHOICES[case]
    assert list(choose(names, indexes).files) == wanted


@pytest.mark.parametrize(
    ("case", "note"),
    [
        (
            "Mistral-7B: consolidated beside shards",
            "is read, since the name model goes before consolidated; left aside:",
        ),
        ("stable-diffusion's unet", "since no variant goes before a variant; left aside: diffusion_pytorch_model.fp16"),
        ("an index and a single file", f"since {INDEX} lists it; left aside: model.safetensors."),
        ("a single file and shards without an index", "since a single file goes before shards without an index"),
        ("an index of another build", f"{INDEX} is not about these files (org/model/model-00001-of-00005.safetensors"),
        ("an index that names some of the shards", f"names 1 of these 2 files; all are read, {TWO[1]} too"),
        ("an index of pruned shards", "though by their numbers 1 more should be there"),
        ("whole .bin, partial safetensors", "pytorch_model.bin is read, since it is complete; left aside: model-00001"),
        ("an adapter beside shards", "since the rest is no whole model; left aside: adapter_model.safetensors"),
        ("gemma: a projector beside GGUF", "since the rest is no whole model; left aside: mmproj-model-f16-4B.gguf"),
        ("LTX: two splits of one model", "lists it; left aside: diffusion_pytorch_model-00001-of-00002.safetensors …"),
        ("jina-reranker: a projector that the index forgot", "left aside: projector.safetensors."),
        ("GGUF beside safetensors", "is read, since it is named as a whole model; left aside: gemma-7b.gguf"),
    ],
)
def test_a_choice_is_one_line(case: str, note: str) -> None:
    names, indexes, _ = CHOICES[case]
    (said,) = choose(names, indexes).notes
    assert note in said


@pytest.mark.parametrize(
    "case", ["Llama-3.1-8B", "Trainer's state", "gpt-oss original: two dashes", "an index of something else"]
)
def test_where_nothing_was_chosen_nothing_is_said(case: str) -> None:
    names, indexes, _ = CHOICES[case]
    assert choose(names, indexes).notes == ()


@pytest.mark.parametrize(
    ("names", "indexes", "message"),
    [
        ([TWO[1]], {}, "expected 2 shards, found 1 of them .*number 1 is missing"),
        ([TWO[0], INDEX], {INDEX: index(*TWO)}, rf"org/model/{TWO[1]}: expected this shard .*1 of 2 are"),
        ([TWO[0], INDEX, "mtp.safetensors"], {INDEX: index(*TWO)}, "expected this shard"),
        (
            ["a.safetensors", "b.safetensors"],
            {},
            r"found several \(a.safetensors, b.safetensors\). Name one file, as in",
        ),
        (["m-Q4_0.gguf", "m-Q8_0.gguf"], {}, "`alpha-hill scan org/model/m-Q4_0.gguf`"),
        (["model.fp16.safetensors", "model.bf16.safetensors"], {}, "found several"),
        ([*TWO, *shards("model", 3)], {}, "found several"),
        (["epoch=1.ckpt", "last.ckpt"], {}, "found several"),
        (["consolidated.00.pth", "consolidated.02.pth"], {}, "expected 3 shards, found 2"),
    ],
)
def test_what_is_incomplete_or_undecided_is_an_error(names: list[str], indexes: Indexes, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        choose(names, indexes)


def test_nothing_named_like_weights() -> None:
    assert choose_files(["config.json", "flax_model.msgpack", "optimizer.pt"], "x", lambda index: {}) is None


def test_one_shard_stands_for_all_or_says_that_it_does_not() -> None:
    whole = set_around(TWO[1], TWO, "x", lambda index: {})
    assert (whole.files, whole.notes) == (
        tuple(TWO), (f"{TWO[1]} is one of 2 files of one checkpoint; all of them are read.",)
    )  # fmt: skip
    part = set_around(TWO[1], TWO[1:], "x", lambda index: {})
    assert part.files == (TWO[1],) and "the results cover this file only" in part.notes[0]
    listed = set_around(
        "a.safetensors", ["a.safetensors", INDEX], "x", lambda _: index("a.safetensors", "b.safetensors")
    )
    assert "the results cover this file only" in listed.notes[0]
    assert set_around("a.safetensors", ["a.safetensors", "b.safetensors"], "x", lambda index: {}).notes == ()


def test_names_say_whether_shards_are_whole_and_which_are_pieces() -> None:
    assert are_whole(TWO) and are_whole(["model.safetensors"]) and not are_whole(TWO[:1])
    assert are_whole([*TWO, "mtp.safetensors"]) and not are_whole(["mtp.safetensors", TWO[0]])
    assert all(map(is_piece, ["model0-mp8.safetensors", "pytorch_model-00007-TP-006.safetensors"]))
    assert not any(map(is_piece, ["model0-mp1.safetensors", "model.safetensors", "Qwen-mp3-tuned.safetensors", *TWO]))


@pytest.mark.parametrize(
    "files",
    [
        ["model-rank-0-part-0.safetensors", "model-rank-0-part-1.safetensors", "model-rank-1-part-0.safetensors"],
        ["rank0.safetensors", "rank1.safetensors"],
    ],
)
def test_what_ranks_of_a_server_hold_is_refused_and_not_recommended(files: list[str]) -> None:
    message = r"org/model/.*rank-?0.*: expected whole matrices, got what one of 2 ranks holds of each"
    with pytest.raises(CheckpointError, match=message):
        choose([*files, "config.json"])
    with pytest.raises(CheckpointError, match=message):
        set_around(files[0], files, "org/model", lambda index: {})
    assert is_piece("model-rank-1-part-0.safetensors") and not is_piece("model-rank-0-part-0.safetensors")


def test_one_rank_holds_whole_matrices_and_other_ranks_are_those_of_adapters() -> None:
    assert choose(["config.json", "rank0.safetensors"]).files == ("rank0.safetensors",)
    adapters = ["rank16.safetensors", "rank32.safetensors"]
    assert set_around(adapters[0], adapters, "org/model", lambda index: {}).files == (adapters[0],)
