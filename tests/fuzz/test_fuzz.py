"""The first mutations of every format; an hour of them is `python -m benchmarks.fuzz --minutes 60` (docs/trust.md).

The inputs are the same in every run, so that a change that has nothing to do with them cannot fail by chance.
"""

import itertools
import time

import pytest

from tests.fuzz.attack import attack
from tests.fuzz.formats import FORMATS, seeds


@pytest.mark.parametrize("name", FORMATS)
def test_mutations_are_results_or_refusals(name: str, pytestconfig: pytest.Config) -> None:
    """Each format has its share of the seconds, but not fewer than its sound files and 20 more."""
    end = time.monotonic() + pytestconfig.getoption("fuzz_seconds") / len(FORMATS)
    least = len(seeds(name)) + 20
    tally = attack(name, range(least))
    attack(name, itertools.count(least), lambda: time.monotonic() > end, tally)
    assert not tally.failed, "\n".join(f"{outcome.number}: {outcome.why}" for outcome in tally.failed)
    assert tally.tried >= least and tally.counts["result"]
