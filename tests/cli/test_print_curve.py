"""The table of a curve: one line per size, and no error in the place of another."""

import math

from alpha_callbacks.cli.print_curve import _merged


def test_lines_of_one_size_are_one_unless_they_disagree() -> None:
    nan = math.nan
    size, knee, other = (
        (4.5, 1.0, [0.1, nan], "4.5 bits"),
        (4.501, 1.0, [nan, 0.3], "knee"),
        (4.502, 1.0, [0.2, nan], "b"),
    )
    assert _merged([size, knee]) == [(4.501, 1.0, [0.1, 0.3], "4.5 bits, knee")]
    assert _merged([size, other]) == [size, other]
