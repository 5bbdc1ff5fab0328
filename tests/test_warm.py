"""The process that forks the programs of tests: it never keeps the tests from ending, and leaves nothing behind."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import warm

TESTS = """
import os, sys, time
from pathlib import Path
from tests.support import warm
warm.GOODBYE = 0.5
program = warm.start(["-m", "timeit", "-s", "import time", "time.sleep(600)"], imports=(),
                     output=Path(sys.argv[1]), errors=Path(sys.argv[1]))
holder = os.fork()  # has the pipe and the socket of the process that forks, as a data loader's worker has
if holder == 0:
    time.sleep(30)
    os._exit(0)
print(program.pid, holder, flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only there programs are told that their parent has ended")
def test_nothing_outlives_the_tests_or_keeps_them_from_ending(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TESTS, tmp_path / "output"]
    environment = {**os.environ, "PYTHONPATH": str(warm.REPOSITORY)}
    environment.pop(warm.ADDRESS, None)
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as tests:
        assert tests.stdout is not None
        program, holder = map(int, tests.stdout.readline().split())
        try:
            assert tests.wait(25) == 0
            deadline = time.monotonic() + 10
            while Path(f"/proc/{program}").exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            assert not Path(f"/proc/{program}").exists()
        finally:
            os.kill(holder, 9)


OTHER = """
import os, sys, time
from pathlib import Path
from tests.support import warm
output = Path(sys.argv[1])
program = warm.start(["-m", "timeit", "-s", "import time", "time.sleep(600)"], imports=(), output=output, errors=output)
print(program.pid, warm._Parent.process, flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_workers_share_the_process_and_take_their_programs_with_them(tmp_path: Path) -> None:
    output = tmp_path / "output"
    ours = warm.start(
        ["-m", "timeit", "-s", "import time", "time.sleep(600)"], imports=(), output=output, errors=output
    )
    try:
        environment = {**os.environ, "PYTHONPATH": str(warm.REPOSITORY)}
        command = [sys.executable, "-c", OTHER, output]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
        program, started = done.stdout.split()
        assert done.returncode == -9 and started == "None"
        deadline = time.monotonic() + 10
        while Path(f"/proc/{program}").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not Path(f"/proc/{program}").exists() and ours.poll() is None
    finally:
        ours.kill()


def test_an_answer_that_nobody_waited_for_is_not_taken_for_the_next_one(tmp_path: Path) -> None:
    output = tmp_path / "output"
    first = warm.start(["-m", "timeit", "-n", "1", "pass"], imports=(), output=output, errors=output)
    warm._Parent.asked += 1
    warm._Parent.connection.write(f'[{warm._Parent.asked}, {{"ended": {first.pid}}}]\n')  # and then Ctrl-C
    second = warm.start(["-c.py"], imports=(), output=output, errors=output, folder=tmp_path)
    assert second.pid != first.pid and second.wait(30) == 1 and "-c.py" in output.read_text()
