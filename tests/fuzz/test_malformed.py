"""Every malformed file is a result, a row with a status, or one line (the commands: `benchmarks.malformed`)."""

import pickle
from pathlib import Path

import pytest

from tests.fuzz.attack import judged
from tests.fuzz.formats import FORMATS, scan_of
from tests.fuzz.malformed import all_cases
from tests.fuzz.malformed.archives import WAS_RUN, Calls

_READERS = {
    "scan": scan_of,
    "report": FORMATS["results_csv"].read,
    "recommend": FORMATS["results_csv"].read,
    "history": FORMATS["history_csv"].read,
    "export": FORMATS["plan_json"].read,
    "merge": lambda folder: FORMATS["journal"].read(folder / "out" / "journal"),
}
CASES = [case for case in all_cases() if not case.big]


def test_there_are_enough() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 500


@pytest.mark.parametrize("kind", sorted({case.name.partition("-")[0] for case in CASES}))
def test_no_traceback(kind: str, tmp_path: Path) -> None:
    fallen = []
    for i, case in enumerate(case for case in CASES if case.name.partition("-")[0] == kind):
        folder = tmp_path / f"case-{i}"
        folder.mkdir()
        case.write(folder)
        verdict, why = judged(lambda folder=folder, case=case: _READERS[case.command[0]](folder), folder)  # type: ignore[misc]
        if verdict == "failed":
            fallen.append(f"{case.name}: {why}")
    assert not fallen, "\n".join(fallen)
    assert not WAS_RUN.exists()


def test_code_of_a_pickle_would_be_noticed() -> None:
    pickle.loads(pickle.dumps(Calls()))
    WAS_RUN.unlink()  # it was there
