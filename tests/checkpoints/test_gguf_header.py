import os
import random
import struct
import time
from pathlib import Path

import pytest

from alpha_callbacks.checkpoints.gguf_header import GgufHeader, read_gguf_header, texts_of
from alpha_callbacks.errors import CheckpointError
from tests.support.gguf_files import entry, gguf_bytes, pair, text

U32, F32, BOOL, STRING, ARRAY, U64 = 4, 6, 7, 8, 9, 10
ARCHITECTURE = pair("general.architecture", STRING, text("llama"))
HEADS = pair("llama.attention.head_count", ARRAY, struct.pack("<IQ3I", U32, 3, 4, 0, 8))
TOKENS = pair("tokenizer.ggml.tokens", ARRAY, struct.pack("<IQ", STRING, 3) + text("a") + text("") + text("ccc"))
SCORES = pair("tokenizer.ggml.scores", ARRAY, struct.pack("<IQ", F32, 5000) + bytes(20_000))
SIZE = pair("llama.embedding_length", U64, struct.pack("<Q", 64))
TENSOR = entry("a.weight", (4, 2))
DATA = bytes(32)


def read(folder: Path, content: bytes) -> GgufHeader:
    file = folder / "m.gguf"
    file.write_bytes(content)
    return read_gguf_header(file)


def test_what_a_header_says(tmp_path: Path) -> None:
    header = read(tmp_path, gguf_bytes([ARCHITECTURE, TOKENS, HEADS, SCORES, SIZE], [TENSOR], DATA))
    assert header.fields == {
        "general.architecture": "llama",
        "llama.attention.head_count": [4, 0, 8],
        "llama.embedding_length": 64,  # what stands behind an array that is stepped over
    }
    assert not header.big_endian
    assert texts_of(header, "tokenizer.ggml.tokens") == ["a", "", "ccc"]
    assert texts_of(header, "tokenizer.ggml.scores") == texts_of(header, "nothing") == []
    stored = (tmp_path / "m.gguf").read_bytes()
    assert [stored[slice(*place)] for place in header.pairs.values()] == [ARCHITECTURE, TOKENS, HEADS, SCORES, SIZE]
    [tensor] = header.tensors
    assert (tensor.name, tensor.shape, tensor.kind, header.size - tensor.offset) == ("a.weight", (2, 4), 0, 32)


def test_numbers_with_the_highest_byte_first(tmp_path: Path) -> None:
    name = struct.pack(">Q", 1) + b"a" + struct.pack(">I2QIQ", 2, 4, 2, 0, 0)
    content = b"GGUF" + struct.pack(">IQQ", 3, 1, 0) + name
    header = read(tmp_path, content + bytes(-len(content) % 32) + DATA)
    assert header.big_endian
    assert header.tensors[0].shape == (2, 4)


def test_weights_begin_at_the_alignment_that_the_file_gives(tmp_path: Path) -> None:
    content = gguf_bytes([pair("general.alignment", U32, struct.pack("<I", 256))], [TENSOR])
    header = read(tmp_path, content + bytes(256 - len(content)) + DATA)
    assert header.tensors[0].offset == 256


BROKEN = {
    "begins with b'vers'": b"version https://git-lfs.github.com/spec/v1",
    "version 1": gguf_bytes(version=1),
    "version 99": gguf_bytes(version=99),
    "9223372036854775808 tensors": gguf_bytes([ARCHITECTURE], n_entries=2**63),
    "9223372036854775808 metadata pairs": gguf_bytes([ARCHITECTURE], n_pairs=2**63),
    "1000000000 metadata pairs": gguf_bytes([ARCHITECTURE], n_pairs=10**9),
    "end in the middle": gguf_bytes([ARCHITECTURE], n_pairs=2),
    "whose name has 4611686018427387904 bytes": gguf_bytes([struct.pack("<Q", 2**62) + bytes(20)]),
    "'k' twice": gguf_bytes([pair("k", BOOL, b"\1")] * 2),
    "'a.weight' twice": gguf_bytes([], [TENSOR, TENSOR], DATA * 2),
    r"no UTF-8: b'blk.\\xff'": gguf_bytes([], [entry(b"blk.\xff", (4, 2))], DATA),
    "a value of type 13 for 'k'": gguf_bytes([pair("k", 13, bytes(8))]),
    "an array of values of type 9": gguf_bytes([pair("k", ARRAY, struct.pack("<IQ", ARRAY, 1) + bytes(40))]),
    "1000000000 texts of 'k'": gguf_bytes([pair("k", ARRAY, struct.pack("<IQ", STRING, 10**9) + bytes(40))]),
    "1000000000 numbers of 'k'": gguf_bytes([pair("k", ARRAY, struct.pack("<IQ", F32, 10**9) + bytes(40))]),
    "1000000 dimensions": gguf_bytes([], [text("a") + struct.pack("<I", 10**6) + bytes(40)]),
    "the offset 4611686018427387904": gguf_bytes([], [entry("a", (4, 2), offset=2**62)], DATA),
    "the offset 7 ": gguf_bytes([], [entry("a", (4, 2), offset=7)], DATA),
    "an alignment of 3,": gguf_bytes([pair("general.alignment", U32, struct.pack("<I", 3))], [TENSOR], DATA),
    "an alignment of 'x'": gguf_bytes([pair("general.alignment", STRING, text("x"))], [TENSOR], DATA),
}


@pytest.mark.parametrize("what", BROKEN)
def test_damage_is_one_line_with_the_file(what: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        read(tmp_path, BROKEN[what])
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'm.gguf'}: expected a whole GGUF file, got ")
    assert what.replace("\\\\", "\\") in message
    assert "\n" not in message


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    content = gguf_bytes([ARCHITECTURE, TOKENS, HEADS, SIZE], [TENSOR])
    for length in range(len(content)):
        with pytest.raises(CheckpointError, match="m.gguf: expected a whole GGUF file"):
            read(tmp_path, content[:length])


def test_no_mutation_is_more_than_a_refusal(tmp_path: Path) -> None:
    draw = random.Random(0)
    content = gguf_bytes([ARCHITECTURE, TOKENS, HEADS, SIZE], [TENSOR, entry("b", (8,), offset=32)], DATA * 2)
    for _ in range(500):
        damaged = bytearray(content)
        for _ in range(draw.randint(1, 3)):
            place = draw.randrange(4, len(damaged))
            damaged[place : place + 8] = draw.choice([b"\xff", b"\0" * 8, struct.pack("<Q", draw.getrandbits(64))])
        try:
            read(tmp_path, bytes(damaged))
        except CheckpointError as error:
            assert "m.gguf: expected" in str(error)


def test_a_vocabulary_is_stepped_over_quickly(tmp_path: Path) -> None:
    tokens = pair("t", ARRAY, struct.pack("<IQ", STRING, 300_000) + text("token") * 300_000)
    content = gguf_bytes([tokens, ARCHITECTURE])
    started = time.thread_time()
    assert read(tmp_path, content).fields == {"general.architecture": "llama"}
    assert time.thread_time() - started < 1  # 0.05 s here


def test_long_texts_are_not_kept(tmp_path: Path) -> None:
    header = read(tmp_path, gguf_bytes([pair("t", STRING, text("x" * 70_000)), SIZE]))
    assert header.fields == {"llama.embedding_length": 64}


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.gguf")
    with pytest.raises(CheckpointError, match="no regular file"):
        read_gguf_header(tmp_path / "m.gguf")


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.gguf").write_bytes(gguf_bytes([SIZE]))

    def denied(*args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(CheckpointError, match="expected a file that can be read, got Permission denied"):
        read_gguf_header(tmp_path / "m.gguf")
