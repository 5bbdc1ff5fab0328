"""Numbers as text, with the digits that matter."""

import math
from decimal import ROUND_CEILING, Context, Decimal

from alpha_callbacks.tables.vocabulary import METRICS


def alpha_text(alpha: float) -> str:
    """Return alpha with six significant digits: fp32, fp16 and bf16 differ in the fourth or later.

    Examples:
        >>> alpha_text(4.4422), alpha_text(float("nan"))
        ('4.44220', 'n/a')
    """
    return f"{alpha:#.{METRICS['alpha'].digits}g}" if math.isfinite(alpha) else "n/a"


def drift_text(drift: float) -> str:
    """Return a measured drift in scientific notation.

    Examples:
        >>> drift_text(-0.00123), drift_text(0.0)
        ('-1.23e-03', '0')
    """
    return f"{drift:+.{METRICS['drift'].digits - 1}e}" if drift else "0"


def bound_text(bound: float) -> str:
    """Return a bound, rounded up so that the statement stays true.

    Examples:
        >>> bound_text(1.2e-9), bound_text(1.21e-9)
        ('≤ 1.2e-09', '≤ 1.3e-09')
    """
    return f"≤ {rounded_up(bound, 2):.1e}"


def rounded_up(bound: float, digits: int) -> float:
    """Return the least number of so many digits that is not below a bound; what is printed of one holds as it stands.

    Examples:
        >>> rounded_up(1.2301e-9, 3), rounded_up(1.23e-9, 3), rounded_up(math.nan, 3)
        (1.24e-09, 1.23e-09, nan)
    """
    return float(Context(prec=digits, rounding=ROUND_CEILING).create_decimal(Decimal(repr(bound))))


def signed(value: float, digits: int = 2) -> str:
    """Return a change with its sign, "" where there is none.

    Examples:
        >>> signed(0.12345), signed(-0.0), signed(math.nan)
        ('+0.12', '0', '')
    """
    return "" if math.isnan(value) else f"{value:+.{digits}g}" if value else "0"


def rank_text(value: float) -> str:
    """Return a correlation that is never rounded up to 1.

    Examples:
        >>> rank_text(1.0), rank_text(0.99999), rank_text(0.98)
        ('1', '0.9999', '0.9800')
    """
    return f"{math.trunc(value * 1e4) / 1e4:.4f}" if abs(value) < 1 else f"{value:.0f}"


def counted(number: int, noun: str) -> str:
    """Return "1 layer", "2 layers".

    Examples:
        >>> counted(1, "layer"), counted(2, "layer")
        ('1 layer', '2 layers')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def for_page(text: str) -> str:
    """Return the text of a number as a page shows it: "–" where there is none, and a proper minus sign.

    Examples:
        >>> for_page("-0.575"), for_page("+1.2e-05"), for_page("")
        ('\N{MINUS SIGN}0.575', '+1.2e-05', '–')
    """
    return text.replace("-", "\N{MINUS SIGN}", 1) if text.startswith("-") else text or "–"
