"""Is one plan better than another? The difference of their divergences on the same tokens, with an interval."""

import math
from dataclasses import dataclass
from statistics import NormalDist

from torch import Tensor

_BLOCKS = 32  # of consecutive tokens; the error of neighbours is alike, that of blocks hardly
_SHORTEST = 16  # tokens a block, where the text has so many


@dataclass(frozen=True)
class Difference:
    """KL of one plan minus that of another, nats per token.

    Attributes:
        mean: over tokens; below 0 the first plan is better.
        low: end of the interval that holds the true mean with 95 % confidence; nan where there are too few tokens.
        high: the other end.
        blocks: number of blocks of tokens that the interval is from.
    """

    mean: float
    low: float
    high: float
    blocks: int

    @property
    def resolved(self) -> bool:
        """True if the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def paired_difference(one: Tensor, other: Tensor, *, confidence: float = 0.95) -> Difference:
    """Compare two plans token by token.

    Tokens of one passage are hard or easy together, so the interval is that of the means of up to 32 blocks of
    consecutive tokens (Student's t), not of single tokens.

    Args:
        one: KL of each token, shape (tokens,), in the order of the text.
        other: the same of the other plan.
        confidence: of the interval.
    """
    differences = (one - other).double()
    count = len(differences)
    blocks = min(_BLOCKS, count // _SHORTEST)
    mean = float(differences.mean())
    if blocks < 2:
        return Difference(mean, math.nan, math.nan, blocks)
    length = count // blocks
    means = differences[: blocks * length].view(blocks, length).mean(1)
    half = student_quantile((1 + confidence) / 2, blocks - 1) * float(means.std()) / math.sqrt(blocks)
    return Difference(mean, mean - half, mean + half, blocks)


def student_quantile(share: float, freedom: int) -> float:
    """Return a quantile of Student's t, to 1 % from three degrees of freedom on, and exactly below.

    Source: Abramowitz and Stegun 26.7.5; the distributions of one and of two degrees have inverses in closed form.
    """
    if freedom == 1:
        return math.tan(math.pi * (share - 0.5))
    if freedom == 2:
        return (2 * share - 1) / math.sqrt(2 * share * (1 - share))
    z = NormalDist().inv_cdf(share)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + math.fsum(term / freedom**power for power, term in enumerate(terms, 1))
