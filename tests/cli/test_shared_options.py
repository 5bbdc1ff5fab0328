"""The same option is the same in every command that has it."""

from collections import defaultdict

import pytest

from alpha_callbacks.cli.app import flags
from tests.cli.conftest import options

# (option, what differs) -> why
EXCEPTIONS = {
    ("--model", "help"): "for names in export, for sensitivities in recommend",
    ("--model", "panel"): "recommend puts it among the sensitivities",
    ("--precisions", "default"): "scan computes three by default, the others show what there is",
    ("--precisions", "metavar"): "history takes one",
    ("--precisions", "help"): "history takes one",
    ("--precisions", "parser"): "history takes one",
    ("--output", "required"): "export has no place of its own to write to",
    ("--output", "help"): "each writes something else",
    ("--plan", "type"): "evaluate takes several",
    ("--plan", "help"): "evaluate takes several",
    ("--plan", "required"): "evaluate may have --against instead",
    ("--format", "required"): "export has nothing else to say",
    ("--format", "default"): "quantize writes checkpoints, the others configs",
    ("--format", "help"): "quantize writes checkpoints, the others configs",
    ("--calibration", "help"): "for gradients in recommend, for rounding in quantize",
    ("--calibration", "panel"): "for gradients in recommend, for rounding in quantize",
    ("--tokens", "default"): "quantize calibrates, evaluate judges",
    ("--tokens", "help"): "quantize calibrates, evaluate judges",
    ("--tokens", "panel"): "quantize calibrates, evaluate judges",
    ("--estimator", "help"): "history shows what the run has fitted, the others fit",
    ("--format", "parser"): "quantize writes checkpoints, the others configs",
}


def shared() -> dict[str, list[dict[str, object]]]:
    """Return main name -> what each command that has the option declares, for options of several commands."""
    found = defaultdict[str, list[dict[str, object]]](list)
    for _, option in options():
        found[option.opts[0]].append(
            {
                "names": (*option.opts, *option.secondary_opts),
                "default": option.default,
                "required": option.required,
                "help": option.help,
                "metavar": option.metavar,
                "panel": option.rich_help_panel,
                "type": option.type_descriptor.annotation,
                "parser": option.type_descriptor.parameter_info.parser,
            }
        )
    return {name: users for name, users in found.items() if len(users) > 1}


def differences() -> set[tuple[str, str]]:
    return {
        (name, field)
        for name, (first, *others) in shared().items()
        for field in first
        if any(other[field] != first[field] for other in others)
    }


def test_options_that_several_commands_have_are_equal() -> None:
    assert {"--precisions", "--k-frac", "--k-min", "--filter-layers", "--exclude-layers", "--device"} <= set(shared())
    assert differences() == set(EXCEPTIONS)


def test_a_parameter_has_one_name_in_the_shell() -> None:
    names = defaultdict[str, set[str]](set)
    for _, option in options():
        names[option.name].add(option.opts[0])
    assert {name: len(opts) for name, opts in names.items() if len(opts) > 1} == {}
    assert (flags()["k_frac"], flags()["precision"], flags()["precisions"]) == ("--k-frac", *["--precisions"] * 2)


def test_every_name_belongs_to_one_option() -> None:
    owners = defaultdict[str, set[str]](set)
    for _, option in options():
        for name in (*option.opts, *option.secondary_opts):
            owners[name].add(option.opts[0])
    assert {name: who for name, who in owners.items() if len(who) > 1} == {"-o": {"--output-dir", "--output"}}


@pytest.mark.parametrize(
    ("python", "shell"), [("include", {"--filter-layers", "--include"}), ("exclude", {"--exclude-layers", "--exclude"})]
)
def test_filters_have_the_names_of_python_too(python: str, shell: set[str]) -> None:
    users = {command for command, option in options() if shell <= set(option.opts)}
    assert f"--{python}" in shell and users == {"scan", "compare"}
