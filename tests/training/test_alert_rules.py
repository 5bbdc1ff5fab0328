"""Rules of alerts: how they are written, and what is said of those that cannot be read."""

from typing import Any

import pytest

from alpha_callbacks.errors import OptionError
from alpha_callbacks.training.alert_rules import PRESETS, STATUSES, VALUES, AlertRule, alert_rules
from tests.conftest import REPOSITORY


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("alpha_ratio > 1.2", AlertRule("alpha_ratio", above=1.2)),
        ("  alpha<1.5 ", AlertRule("alpha", below=1.5)),
        ("change > 5e-1 in q_proj|k_proj", AlertRule("change", above=0.5, layers="q_proj|k_proj")),
        ("stable_rank < 12.5 % of start", AlertRule("stable_rank", below=0.125, of_start=True)),
        ("spectral_norm > 300% of start at bf16", AlertRule("spectral_norm", above=3, of_start=True, precision="bf16")),
        ("stop if non_finite", AlertRule("non_finite", stop=True)),
        ("stop  if drift > 0.1 at float16 in layers at 3", AlertRule("drift", above=0.1, precision="fp16",
                                                                    layers="layers at 3", stop=True)),
        ("degenerate in ^lm_head$", AlertRule("degenerate", layers="^lm_head$")),
    ],
)  # fmt: skip
def test_a_rule_is_read_and_its_text_can_be_read_back(text: str, rule: AlertRule) -> None:
    assert alert_rules(text) == (rule,)
    assert alert_rules(f"{'stop if ' * rule.stop}{rule}") == (rule,)
    assert alert_rules([rule, text]) == (rule,)


@pytest.mark.parametrize("name", PRESETS)
def test_sets_have_names_and_never_stop_the_run(name: str) -> None:
    rules = alert_rules(name)
    assert len(rules) == len(PRESETS[name]) and not any(rule.stop for rule in rules)
    stopping = alert_rules([name, "stop if non_finite"])
    assert [str(rule) for rule in stopping] == [str(rule) for rule in rules]
    assert [str(rule) for rule in stopping if rule.stop] == ["non_finite"]
    assert alert_rules(["stop if non_finite", name])[0].stop


def test_no_rules() -> None:
    assert alert_rules(None) == () == alert_rules([])


@pytest.mark.parametrize(
    ("alerts", "why"),
    [
        ("alfa > 2", "there is no value, status or set 'alfa'"),
        ("defaults", "there is no value, status or set 'defaults'"),
        ("alpha > two", "'two' is not a number"),
        ("alpha > nan", "the limit is nan"),
        ("alpha", "alpha needs exactly one limit"),
        ("non_finite > 3", "non_finite is a status and takes no limit"),
        ("change > 20% of start", "change has no share of its start"),
        ("alpha = 2", "it cannot be read"),
        ("alpha > 2 and alpha < 3", "it cannot be read"),
        ("", "it cannot be read"),
        ("alpha > 2 in (", "is not a regular expression"),
        ("alpha > 2 in a; b", "holds what separates rules in the history"),
        (
            "stop if alpha > 3 in a at float16",
            'the precision comes before the layers: "stop if alpha > 3 at fp16 in a"',
        ),
        ("non_finite at bf16 in a at  fp32 ", 'the precision comes before the layers: "non_finite at fp32 in a"'),
        ("stop if drift > 1 at fp32 in lm", "fp32 is the finest precision, from which drift is measured"),
        ("alpha < 1", "it can never hold, alpha is never below 1"),
        ("stable_rank < 0% of start", "it can never hold, stable_rank is never below 0"),
        ("drift<-.1", "it can never hold, drift is never below 0"),
        ("alpha > 2 at fp64", r"fp64 is not analysed \(precisions=fp32,bf16\)"),
        (["default", 3], "int is neither text nor a rule"),
        (7, "int is neither text nor a rule nor a list of them"),
    ],
)
def test_what_cannot_be_read_is_named_with_what_exists(alerts: Any, why: str) -> None:
    with pytest.raises(OptionError, match=why) as error:
        alert_rules(alerts, ("fp32", "bf16"))
    assert all(name in str(error.value) for name in (*VALUES, *STATUSES, *PRESETS))
    if isinstance(alerts, str):
        assert f"got {alerts.strip()!r}: " in str(error.value)


@pytest.mark.parametrize(
    "rule", ["drift > 0.1", "drift < 0.1", "stop if drift > 1 at bf16", AlertRule("drift", above=1)]
)
def test_a_drift_needs_two_precisions(rule: Any) -> None:
    with pytest.raises(OptionError, match=r"between two precisions, and one is analysed \(precisions=bf16\)"):
        alert_rules(rule, ("bf16",))
    assert alert_rules(rule) and alert_rules(rule, ("fp32", "bf16"))


def test_a_rule_in_python_is_quoted_as_it_is() -> None:
    with pytest.raises(OptionError, match=r"got AlertRule\(value='alpha', above=None, below=None, .*: alpha needs"):
        AlertRule("alpha")
    with pytest.raises(OptionError, match="the precision comes before the layers"):
        AlertRule("alpha", above=3, layers="a at fp32")
    assert AlertRule("alpha", above=3, layers="a at fp17").layers == "a at fp17"


def test_a_rule_with_two_limits_or_an_unknown_precision() -> None:
    with pytest.raises(OptionError, match="alpha needs exactly one limit"):
        AlertRule("alpha", above=2, below=1)
    with pytest.raises(OptionError, match="fp17"):
        AlertRule("alpha", above=2, precision="fp17")


def test_the_page_lists_what_exists() -> None:
    page = (REPOSITORY / "docs" / "alerts.md").read_text()
    assert all(f"| `{name}` | {about} |" in page for name, about in {**VALUES, **STATUSES}.items())
    assert all(
        f'| `"{name}"` | {", ".join(f"`{rule}`" for rule in rules)} |' in page for name, rules in PRESETS.items()
    )
