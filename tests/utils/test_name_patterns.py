"""Patterns mean what they mean to `re`, and none takes long."""

import random
import re
import time

import pytest

from alpha_callbacks.utils.name_patterns import PatternError, matches

NAMES = (
    *(
        "model.layers.0.mlp.gate_proj",
        "model.layers.17.self_attn.q_proj",
        "lm_head",
        "",
        "a",
        "aab",
        "language_model.0",
    ),
    *("model.layers.3.mlp.experts.12.down_proj", "vision_tower.blocks.2.attn.qkv", "a.b\n", "x-y_z[0]"),
)
PATTERNS = (
    *(r".*lm_head", r".*mlp\.(gate|up)_proj$", r"model\.layers\.\d+\..*", r"^(?!.*(lm_head|vision)).*_proj$"),
    *(r".*self_attn.*", r"(?:.*\.)?q_proj", r"model\.layers\.[0-9]+\.mlp\.experts\.\d{1,2}\.\w+", r"a{2}b|lm_.*?d$"),
    *(r"[^.]+$", r".*\.(?P<last>gate_proj)$", r"(?=.*experts).*down", r"a?a?b", r"a{,2}b", r"a+b", r"(a|b)*$", "", "$"),
    *(r"[]x]", r"[\w.]+", r"(ab?){1,3}", r"language\_model.*", r"x\-y_z\[0\]", r".*\S$", r"a(b|)", r"()*a"),
)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_of_configs(pattern: str) -> None:
    for name in NAMES:
        assert matches(pattern, name) == (re.match(pattern, name) is not None), name


def test_random_patterns() -> None:
    chance = random.Random(0)
    pieces = ["a", "b", ".", r"\.", r"\d", "[ab]", "(a|b)", "(ab|)", "(?=a)", "(?!b)", "^", "$", "|", "(a.)"]
    ends = ["", "", "", "*", "+", "?", "{2}", "{1,}", "*?"]
    tried = 0
    while tried < 1000:
        parts = [(chance.choice(pieces), chance.choice(ends)) for _ in range(chance.randint(1, 6))]
        pattern = "".join(piece + (end if piece not in "^$|" and "?" not in piece else "") for piece, end in parts)
        name = "".join(chance.choice("ab.1") for _ in range(chance.randint(0, 9)))
        tried += 1
        assert matches(pattern, name) == (re.match(pattern, name) is not None), (pattern, name)


@pytest.mark.parametrize(
    "pattern",
    [
        *(
            "(a+)+$",
            "(.*)*(.*)*(.*)*!",
            "(a|a)*" * 100 + "!",
            ".*" * 400 + "!",
            "(((a{900}){900}){900}){900}",
            r"(\w+\w)+!",
        ),
        *("(?=(?=(?=.*a)*a)*a)*!", "a?" * 300 + "a" * 90 + "!"),
    ],
)
def test_no_pattern_takes_long(pattern: str) -> None:
    started = time.process_time()
    try:
        assert not matches(pattern, "a" * 100 + "-")
    except PatternError as error:
        assert "takes too long" in str(error)
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    "pattern",
    [r"(a)\1", r"\bproj", "(?i)a", "(?<!x)a", "[", "(", ")", "a)", "*", "a**", r"\1", "a{}", "[b-a]", "(" * 900],
)
def test_what_is_not_understood_is_said(pattern: str) -> None:
    with pytest.raises(PatternError, match="not understood"):
        matches(pattern, "a.b")
    with pytest.raises(PatternError, match="too long"):
        matches("a" * 1001, "a")
