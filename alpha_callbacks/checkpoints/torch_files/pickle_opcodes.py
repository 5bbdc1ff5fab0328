"""A pickle read as data: no module is imported, nothing that the file names is called.

Python's own unpickler imports and calls whatever a file asks for, and each way to restrict it is a list of what has
been thought of. Here the machine cannot call: where a pickle asks for it, `construct` gets the name as text.
"""

import gc
import pickle
import struct
from collections.abc import Callable
from typing import Any

from alpha_callbacks.checkpoints.torch_files.pickle_machine import PickleMachine, decoded

MOST_BYTES = 128 * 2**20  # of one pickle; the names and shapes of a million tensors take less
_MOST_DIGITS = 1024  # bytes of an integer


def read_pickle(
    data: bytes,
    *,
    construct: Callable[[str, tuple[Any, ...]], Any],
    resolve: Callable[[str], Any],
    persistent: Callable[[Any], Any],
    start: int = 0,
) -> tuple[Any, int]:
    """Return what one pickle describes, and the offset after it. Sets become lists, unknown objects `Foreign`.

    Args: see `PickleMachine`.

    Raises:
        ValueError: damaged, beyond the limits, or of a form in which no tensors are stored.
    """
    machine = PickleMachine(data, start, construct, resolve, persistent)
    stop, collecting = pickle.STOP[0], gc.isenabled()
    gc.disable()  # nothing is garbage before the end, and to look for it among millions of objects takes minutes
    try:
        while (code := data[machine.at]) != stop:
            machine.at += 1
            machine.spend()
            _TABLE[code](machine)
        machine.at += 1
        return machine.stack.pop(), machine.at
    except (IndexError, KeyError, struct.error) as error:
        raise ValueError(f"a pickle that is damaged at byte {machine.at}") from error
    finally:
        if collecting:
            gc.enable()


_Action = Callable[[PickleMachine], Any]
_TABLE: dict[int, _Action] = {}


def _does(code: bytes, action: _Action) -> None:
    _TABLE[code[0]] = action


def _pushes(code: bytes, value: _Action) -> None:
    """Let an opcode push an object that takes memory."""
    _does(code, lambda m: m.keep(value(m)))


def _number(code: bytes, form: str) -> None:
    _does(code, lambda m: m.stack.append(m.number(form)))


def _constant(code: bytes, value: bool | None) -> None:
    _does(code, lambda m: m.stack.append(value))


def _counted(code: bytes, form: str, convert: Callable[[bytes], Any]) -> None:
    """Let an opcode push what follows it as a length and as many bytes."""
    _pushes(code, lambda m: convert(m.take(m.number(form))))


def _memo(get: bytes, put: bytes, index: _Action) -> None:
    _does(get, lambda m: m.stack.append(m.memo[index(m)]))
    _does(put, lambda m: m.remember(index(m)))


def _short_tuple(code: bytes, count: int) -> None:
    _pushes(code, lambda m: tuple(reversed([m.stack.pop() for _ in range(count)])))


def _integer(raw: bytes) -> int:
    if len(raw) > _MOST_DIGITS:
        raise ValueError(f"a pickle with an integer of {len(raw):,} bytes")
    return int.from_bytes(raw, "little", signed=True)


def _text_integer(text: str) -> int:
    return text == "01" if text in ("00", "01") else int(text)


def _set_item(machine: PickleMachine) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    machine.update([key, value])


def _dict_of_marked(machine: PickleMachine) -> None:
    pairs = machine.popped_mark()
    machine.keep({})
    machine.update(pairs)


def _name_on_stack(machine: PickleMachine) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    machine.name(module, name)


def _call(machine: PickleMachine) -> None:
    args, function = machine.stack.pop(), machine.stack.pop()
    machine.call(function, args)


def _call_with_keywords(machine: PickleMachine) -> None:
    machine.stack.pop()
    _call(machine)


def _call_of_marked(machine: PickleMachine) -> None:
    function, *args = machine.popped_mark() or [None]
    machine.call(function, tuple(args))


def _call_of_name(machine: PickleMachine) -> None:
    machine.name(machine.line(), machine.line())
    function = machine.stack.pop()
    machine.call(function, tuple(machine.popped_mark()))


_number(pickle.BININT, "<i")
_number(pickle.BININT1, "<B")
_number(pickle.BININT2, "<H")
_number(pickle.BINFLOAT, ">d")
_constant(pickle.NONE, None)
_constant(pickle.NEWTRUE, True)
_constant(pickle.NEWFALSE, False)
_counted(pickle.SHORT_BINUNICODE, "<B", decoded)
_counted(pickle.BINUNICODE, "<I", decoded)
_counted(pickle.BINUNICODE8, "<Q", decoded)
_counted(pickle.SHORT_BINSTRING, "<B", decoded)
_counted(pickle.BINSTRING, "<i", decoded)
_counted(pickle.SHORT_BINBYTES, "<B", bytes)
_counted(pickle.BINBYTES, "<I", bytes)
_counted(pickle.BINBYTES8, "<Q", bytes)
_counted(pickle.BYTEARRAY8, "<Q", bytes)
_counted(pickle.LONG1, "<B", _integer)
_counted(pickle.LONG4, "<i", _integer)
_pushes(pickle.INT, lambda m: _text_integer(m.line()))
_pushes(pickle.LONG, lambda m: int(m.line().removesuffix("L")))
_pushes(pickle.FLOAT, lambda m: float(m.line()))
_pushes(pickle.STRING, lambda m: m.line().strip()[1:-1])
_pushes(pickle.UNICODE, lambda m: m.line())
_memo(pickle.BINGET, pickle.BINPUT, lambda m: m.number("<B"))
_memo(pickle.LONG_BINGET, pickle.LONG_BINPUT, lambda m: m.number("<I"))
_memo(pickle.GET, pickle.PUT, lambda m: int(m.line()))
_does(pickle.MEMOIZE, lambda m: m.remember(len(m.memo)))
_pushes(pickle.EMPTY_DICT, lambda m: {})
_pushes(pickle.EMPTY_LIST, lambda m: [])
_pushes(pickle.EMPTY_SET, lambda m: [])
_pushes(pickle.EMPTY_TUPLE, lambda m: ())
_short_tuple(pickle.TUPLE1, 1)
_short_tuple(pickle.TUPLE2, 2)
_short_tuple(pickle.TUPLE3, 3)
_pushes(pickle.TUPLE, lambda m: tuple(m.popped_mark()))
_pushes(pickle.LIST, lambda m: m.popped_mark())
_pushes(pickle.FROZENSET, lambda m: m.popped_mark())
_does(pickle.DICT, _dict_of_marked)
_does(pickle.APPEND, lambda m: m.extend([m.stack.pop()]))
_does(pickle.APPENDS, lambda m: m.extend(m.popped_mark()))
_does(pickle.ADDITEMS, lambda m: m.extend(m.popped_mark()))
_does(pickle.SETITEM, _set_item)
_does(pickle.SETITEMS, lambda m: m.update(m.popped_mark()))
_does(pickle.PROTO, lambda m: m.number("<B"))
_does(pickle.FRAME, lambda m: m.number("<Q"))
_does(pickle.MARK, lambda m: m.mark())
_does(pickle.POP, lambda m: m.stack.pop() if m.stack else m.popped_mark())
_does(pickle.POP_MARK, lambda m: m.popped_mark())
_does(pickle.DUP, lambda m: m.stack.append(m.stack[-1]))
_pushes(pickle.PERSID, lambda m: m.persistent(m.line()))
_pushes(pickle.BINPERSID, lambda m: m.persistent(m.stack.pop()))
_does(pickle.GLOBAL, lambda m: m.name(m.line(), m.line()))
_does(pickle.STACK_GLOBAL, _name_on_stack)
_does(pickle.REDUCE, _call)
_does(pickle.NEWOBJ, _call)
_does(pickle.NEWOBJ_EX, _call_with_keywords)
_does(pickle.OBJ, _call_of_marked)
_does(pickle.INST, _call_of_name)
_does(pickle.BUILD, lambda m: m.build())
