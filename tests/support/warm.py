"""Python programs as forks of one process that holds their heavy imports, so that a start costs no seconds.

The workers of `-n` share that process: what one of them has had imported is there for the others.

A program finds its own arguments, environment, folder and output, and ends as an interpreter does. Only what a package
did when it was imported is done already: programs that are about imports, about variables that are read then, or about
the memory of a whole process are started by `subprocess`.
"""

import atexit
import ctypes
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
COMMAND = (
    "alpha_callbacks.cli.app",
    "alpha_callbacks.cli.scan_command",
    "alpha_callbacks.precisions.registry",
    "alpha_callbacks.scanning.write_results",
    "alpha_callbacks.report.scan_page",
    "alpha_callbacks.planning.recommend",
    "typer._adapters",
    "rich.progress",
    "pandas",
    "plotly.offline",
)
GOODBYE = 20.0  # seconds that the process that forks has to end
ADDRESS = "ALPHA_TESTS_WARM"  # variable: the socket of the process that forks, for the workers of `-n`
PR_SET_PDEATHSIG = 1  # of prctl: the signal that a process gets when its parent ends


class Program:
    """A running program: of `subprocess.Popen`, what tests need."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = _ask(ended=self.pid)
        return self.returncode

    def wait(self, timeout: float) -> int:
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(f"program {self.pid}", timeout)
            time.sleep(0.01)
        assert self.returncode is not None
        return self.returncode

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, 9)


def start(
    arguments: Sequence[object],
    *,
    imports: Sequence[str],
    output: Path,
    errors: Path,
    folder: Path = REPOSITORY,
    environment: Mapping[str, str] = os.environ,
    anew: Sequence[str] = (),
    first: Sequence[str] = (),
) -> Program:
    """Start `python arguments...`: a file, or "-m" and a module, and what it is given.

    Args:
        arguments: of the interpreter.
        imports: modules to be imported before, once for all programs; those that are not installed are left out.
        output: file for what it prints.
        errors: file for its standard error; may be the same.
        folder: working directory.
        environment: of the program.
        anew: packages and modules that the program imports itself: they read its environment then, or it looks at
            what is imported with them.
        first: modules that the program imports before it starts; what they change holds for it alone.
    """
    return Program(
        _ask(
            arguments=[str(argument) for argument in arguments],
            imports=list(imports),
            output=str(output),
            errors=str(errors),
            folder=str(folder),
            environment=dict(environment),
            anew=list(anew),
            first=list(first),
        )
    )


def run(arguments: Sequence[object], *, timeout: float = 240, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program as `start` does, to its end, and return what it printed."""
    with tempfile.TemporaryDirectory() as folder:
        output, errors = Path(folder) / "output", Path(folder) / "errors"
        program = start(arguments, output=output, errors=errors, **options)
        try:
            code = program.wait(timeout)
        finally:
            program.kill()
        return subprocess.CompletedProcess(list(arguments), code, output.read_text(), errors.read_text())


def run_code(code: str, *arguments: object, anew: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """Run a text as a program that finds torch imported, and imports our packages and those in `anew` itself."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "program.py"
        path.write_text(textwrap.dedent(code), encoding="utf-8")
        return run([path, *arguments], imports=["torch"], anew=["alpha_callbacks", "alpha_integrations", *anew])


class _Parent:
    """The process that forks; it ends with the one that started it, whose pipe it reads."""

    process: Any = None  # where it was started here
    folder: Any = None
    connection: Any = None
    asked = 0  # number of the last request


def share() -> None:
    """Start the process that forks, for this process and for those that it starts."""
    _Parent.folder = tempfile.TemporaryDirectory()
    address = str(Path(_Parent.folder.name) / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "integrations")])
        _Parent.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.warm", str(listener.fileno())],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
            stdin=subprocess.PIPE,
            pass_fds=[listener.fileno()],
        )
    os.environ[ADDRESS] = address
    atexit.register(_end)


def _ask(**request: Any) -> Any:
    if _Parent.connection is None:
        if ADDRESS not in os.environ:
            share()
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(os.environ[ADDRESS])
        _Parent.connection = connection.makefile("rw", encoding="utf-8")
    _Parent.asked += 1
    _Parent.connection.write(json.dumps([_Parent.asked, request]) + "\n")
    _Parent.connection.flush()
    for line in _Parent.connection:
        number, answer = json.loads(line)
        if number == _Parent.asked:  # an earlier one was not waited for: Ctrl-C, a time limit of the test
            return answer
    raise RuntimeError("the process that forks programs has ended; the reason is in its standard error")


def _end() -> None:
    """End the process that forks, and with it what it started: it ends by itself unless another holds its pipe."""
    with suppress(OSError):
        _Parent.process.stdin.close()
    try:
        _Parent.process.wait(GOODBYE)
    except subprocess.TimeoutExpired:  # such as a data loader's worker, which was forked from here and still lives
        _Parent.process.kill()
        _Parent.process.wait()
    _Parent.folder.cleanup()


class _Client:
    """A process that asks for programs."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.unread = b""
        self.programs: set[int] = set()

    def requests(self) -> list[tuple[int, Any]]:
        """Return what has come: number and request of each."""
        received = self.connection.recv(2**20)
        if not received:
            raise EOFError
        *lines, self.unread = (self.unread + received).split(b"\n")
        return [json.loads(line) for line in lines]

    def ended(self, pid: int) -> int | None:
        """Return the exit code of a program, or None while it runs."""
        found, status = os.waitpid(pid, os.WNOHANG)
        self.programs.discard(found)
        return os.waitstatus_to_exitcode(status) if found else None


def _serve(listener: socket.socket) -> None:
    """Answer requests; in a forked process, return when its program has ended."""
    owner = open(os.dup(0), "rb", buffering=0)  # noqa: SIM115  (says nothing until it ends)
    _redirect(0, os.devnull, os.O_RDONLY)
    os.dup2(2, 1)  # imports may print
    selector = selectors.DefaultSelector()
    selector.register(owner, selectors.EVENT_READ)
    selector.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is owner:
                return None
            if key.fileobj is listener:
                connection, _ = listener.accept()
                selector.register(connection, selectors.EVENT_READ, _Client(connection))
                continue
            client: _Client = key.data
            try:
                requests = client.requests()
            except (EOFError, OSError):
                selector.unregister(client.connection)
                client.connection.close()
                for pid in client.programs:
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                continue
            for number, request in requests:
                if "ended" in request:
                    answer = client.ended(request["ended"])
                else:
                    _prepare(request["imports"])
                    answer = os.fork()
                    if answer == 0:
                        for each in [*selector.get_map().values()]:
                            each.fileobj.close()  # type: ignore[union-attr]
                        selector.close()
                        return _become(request)
                    client.programs.add(answer)
                client.connection.sendall(json.dumps([number, answer]).encode() + b"\n")


def _prepare(imports: Sequence[str]) -> None:
    new = [name for name in imports if name not in sys.modules]
    for name in new:
        try:
            importlib.import_module(name)
        except ImportError:
            continue
    if new:
        assert threading.active_count() == 1, "a fork has none of the threads of its parent"
        gc.collect()
        gc.freeze()  # what all share stays shared


def _become(request: Mapping[str, Any]) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # no program outlives the tests
    writing = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    _redirect(1, request["output"], writing)
    _redirect(2, request["errors"], writing)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    for name in [name for name in sys.modules if any(f"{name}.".startswith(f"{one}.") for one in request["anew"])]:
        del sys.modules[name]
    for name in request["first"]:
        importlib.import_module(name)
    module, *rest = request["arguments"]
    if module == "-m":
        sys.argv, sys.path[0] = rest, request["folder"]
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = request["arguments"], str(Path(module).parent)
        runpy.run_path(module, run_name="__main__")


def _redirect(descriptor: int, path: str, flags: int) -> None:
    opened = os.open(path, flags, 0o644)
    os.dup2(opened, descriptor)
    os.close(opened)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
