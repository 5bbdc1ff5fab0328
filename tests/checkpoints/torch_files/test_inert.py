"""No pickle runs code, imports a module or takes long, whatever it asks for."""

import argparse
import enum
import functools
import os
import pathlib
import pickle
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.checkpoints.torch_files import pickle_machine, torch_reader
from alpha_callbacks.checkpoints.torch_files.pickle_opcodes import _TABLE, read_pickle
from alpha_callbacks.checkpoints.torch_files.pickled_objects import Foreign, Global
from alpha_callbacks.checkpoints.torch_files.torch_objects import construct, resolve, storage_of
from alpha_callbacks.errors import CheckpointError
from tests.checkpoints.torch_files.archives import with_pickle
from tests.conftest import noise


def read(data: bytes) -> Any:
    return read_pickle(data, construct=construct, resolve=resolve, persistent=storage_of)[0]


class Payload:
    """A pickle that calls what it is given when it is loaded."""

    def __init__(self, function: Callable[..., object], *args: object) -> None:
        self.call = (function, args)

    def __reduce__(self) -> tuple[object, ...]:
        return self.call


class Color(enum.Enum):
    RED = 1


PAYLOADS: dict[str, Callable[[str], object]] = {
    "os.system": lambda mark: Payload(os.system, f"touch {mark}"),
    "eval": lambda mark: Payload(eval, f"open({mark!r}, 'w').close()"),
    "exec": lambda mark: Payload(exec, f"open({mark!r}, 'w').close()"),
    "Path.touch": lambda mark: Payload(Path.touch, Path(mark)),
    "subprocess": lambda mark: Payload(subprocess.Popen, ["touch", mark]),
    "getattr chain": lambda mark: Payload(getattr, Payload(getattr, "x", "__class__"), "__mro__"),
    "partial": lambda mark: Payload(functools.partial(os.system, f"touch {mark}")),
    "torch.load": lambda mark: Payload(torch.load, mark),
    "torch.hub": lambda mark: Payload(torch.hub.load, "nobody/nothing", "model"),
    "breakpoint": lambda mark: Payload(breakpoint),
    "__import__": lambda mark: Payload(__import__, "antigravity"),
}


@pytest.mark.parametrize("name", PAYLOADS)
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_payload_is_text_and_the_weights_beside_it_are_read(name: str, zipped: bool, tmp_path: Path) -> None:
    mark = tmp_path / "owned"
    weight = noise(4, 6)
    saved = {"a.weight": weight, "x": PAYLOADS[name](str(mark))}
    torch.save(saved, tmp_path / "model.pt", _use_new_zipfile_serialization=zipped)
    assert torch_reader.__name__ in sys.modules  # with all that it needs
    before = set(sys.modules)
    checkpoint = open_checkpoint(tmp_path / "model.pt")
    (tensor,) = checkpoint.tensors
    assert torch.equal(tensor.read(0, 4), weight)
    assert set(sys.modules) == before and not mark.exists()
    (note,) = checkpoint.notes
    assert note.startswith("model.pt: names classes or functions that were neither imported nor called: ")


def test_classes_of_a_training_run_are_stubs(tmp_path: Path) -> None:
    weight = noise(4, 6)
    saved = {
        "state_dict": {"a.weight": weight},
        "hyper_parameters": argparse.Namespace(lr=1, path=pathlib.Path("x"), kind=Color.RED),
        "best": np.float64(0.5),
        "losses": np.arange(3.0),
        "shapes": {torch.Size((2, 3)), torch.float32},
        "made": functools.partial(dict, a=1),
        "ranges": [range(3), 2**70, -1.5, b"raw", bytearray(b"raw"), frozenset({1}), 1 + 2j],
    }
    torch.save(saved, tmp_path / "last.ckpt")
    checkpoint = open_checkpoint(tmp_path / "last.ckpt")
    assert torch.equal(checkpoint.tensors[0].read(1, 3), weight[1:3])
    assert "argparse.Namespace" in " ".join(checkpoint.notes)
    for protocol in range(6):
        back = read(pickle.dumps({key: value for key, value in saved.items() if key != "state_dict"}, protocol))
        assert set(back) == set(saved) - {"state_dict"}
        assert back["hyper_parameters"].of == "argparse.Namespace"
        assert back["hyper_parameters"].state["lr"] == 1 and back["ranges"][1:3] == [2**70, -1.5]


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(-(2**30), 2**30), inner)
    | st.tuples(inner, inner),
    max_leaves=12,
)  # fmt: skip


@given(plain, st.integers(1, 5))
def test_plain_data_are_what_python_says(value: Any, protocol: int) -> None:
    found, end = read_pickle(
        data := pickle.dumps(value, protocol), construct=construct, resolve=resolve, persistent=storage_of
    )
    assert end == len(data)
    if protocol > 2:  # before, bytes are the call of a function
        assert found == value


@given(st.binary(max_size=60))
def test_random_opcodes_are_a_value_or_one_error(tail: bytes) -> None:
    try:
        read(b"\x80\x04" + bytes(sorted(_TABLE)[byte % len(_TABLE)] for byte in tail) + b".")
    except ValueError as error:
        assert "\n" not in str(error)


def test_every_opcode_of_python_is_known_but_those_that_need_something_from_outside() -> None:
    import pickletools

    outside = {"EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER", "STOP"}
    known = {op.name for op in pickletools.opcodes if ord(op.code) in _TABLE}
    assert {op.name for op in pickletools.opcodes} - known == outside


REF = b"ctorch._utils\n_rebuild_tensor_v2\n"
STORAGE = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0" + b"0X\x03\0\0\0cpuK\x10tQ"


def tensor(offset: bytes, shape: bytes, strides: bytes) -> bytes:
    return b"\x80\x02}X\x08\0\0\0a.weight" + REF + b"(" + STORAGE + offset + shape + strides + b"\x89}tRs."


@pytest.mark.parametrize(
    ("pickled", "message"),
    [
        (b"", "damaged at byte 0"),
        (b"\x80\x02\xff\xff.", "damaged"),
        (b"\x80\x02h\x05.", "damaged"),
        (b"\x80\x02aaaa.", "damaged"),
        (b"\x80\x02X\xff\xff\xff\x7fabc.", "damaged"),
        (b"\x80\x02\x8b\xff\xff\xff\x7f.", "damaged"),
        (b"\x80\x02\x82\x01.", "damaged"),
        (b"\x80\x05\x97.", "damaged"),
        (b"\x80\x02Nr\xff\xff\xff\xff" + b"0" * 3, "damaged"),
        (b"\x80\x02K\x01K\x02K\x03s.", "sets keys of something that has none"),
        (b"\x80\x02K\x01K\x02a.", "appends to something that is no list"),
        (b"\x80\x02K\x01)R.", "calls 'int' with 'tuple'"),
        (b"\x80\x02K\x05Q.", "no storage of torch.save"),
        (b"\x80\x02)Q.", "no storage of torch.save"),
        (b"\x80\x02}.", "no dict of tensors"),
        (b"\x80\x02K\x05.", "no dict of tensors but int"),
        (b"\x80\x02L" + b"9" * 5000 + b"L\n.", "4300 digits"),
        (b"\x80\x02\x8b" + struct.pack("<i", 2000) + b"\1" * 2000 + b".", "integer of 2,000 bytes"),
        (b"\x80\x02N\x85q\0" + b"0h\0h\0\x86q\0" * 200 + b"0}h\0Ns.", "its entries are <a tuple as key>"),
        (b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".", "no dict of tensors"),
        (tensor(b"K\x11", b"K\x01\x85", b"K\x01\x85"), "reaches beyond its storage of 16 elements"),
        (tensor(b"K\0", b"K\x05K\x04\x86", b"K\x04K\x01\x86"), "reaches beyond its storage"),
        (tensor(b"K\0", b"J\xff\xff\xff\xff\x85", b"K\x01\x85"), "offset, shape or strides are none"),
        (tensor(b"J\xf0\xff\xff\xff", b"K\x01\x85", b"K\x01\x85"), "offset, shape or strides are none"),
        (tensor(b"K\0", b"K\x01\x85", b")"), "offset, shape or strides are none"),
        (tensor(b"K\0", b"X\x01\0\0\0a\x85", b"K\x01\x85"), "offset, shape or strides are none"),
    ],
)  # fmt: skip
def test_a_hostile_pickle_is_one_line(pickled: bytes, message: str, tmp_path: Path) -> None:
    started = time.process_time()
    with pytest.raises(CheckpointError, match=rf"x\.pt: expected .*{message}") as caught:
        open_checkpoint(with_pickle(tmp_path / "x.pt", pickled))
    assert "\n" not in str(caught.value) and time.process_time() - started < 2


def test_steps_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickle_machine, "_MOST_STEPS", 1000)
    assert read(b"\x80\x02" + b"N" * 900 + b".") is None
    for code in (b"N", b"]", b"}", b"(", b"\x94"):
        with pytest.raises(ValueError, match="too many steps"):
            read(b"\x80\x02N" + code * 1000 + b".")


@pytest.mark.parametrize(
    "number",
    [
        lambda i: b"\x8a\x0a" + ((2**61 - 1) * i).to_bytes(10, "little"),
        lambda i: b"G" + struct.pack(">d", 2.0**61 * i),
    ],
)
def test_keys_with_equal_hashes_cost_nothing(number: Callable[[int], bytes]) -> None:
    started = time.process_time()
    found = read(b"\x80\x02}(" + b"".join(number(i) + b"N" for i in range(1, 20_000)) + b"u.")
    assert len(found) == 19_999 and time.process_time() - started < 2


def test_what_is_shared_a_million_times_is_copied_never() -> None:
    pairs = b"]q\1(" + b"".join(b"X\x04\0\0\0%04dN\x86" % i for i in range(2000)) + b"e0"
    made = b"\x80\x02ccollections\nOrderedDict\nq\0" + pairs + b"h\0h\1\x85R0" * 20_000 + b"h\0h\1\x85R."
    started = time.process_time()
    assert read(made) == {}
    chain = read(b"\x80\x02ca\nb\n" + b")R" * 50_000 + b".")
    assert isinstance(chain, Foreign) and chain.of == "a.b()" and time.process_time() - started < 3


def test_names_are_text_that_every_file_can_hold() -> None:
    assert read(b"\x80\x02X\x03\0\0\0\xed\xa0\x80.") == "\\xed\\xa0\\x80"
    assert isinstance(read(b"\x80\x02cposix\nsystem\n."), Global)


def test_classes_within_classes_end() -> None:
    function, depth = b"ctorch._tensor\n_rebuild_from_type_v2\nq\x00", 5000
    with pytest.raises(ValueError, match="a tensor of a class within a tensor of a class"):
        read(b"\x80\x02" + function + b"(h\x00N" * depth + b")" + b"Nt" * depth + b"R.")
