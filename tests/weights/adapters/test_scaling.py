"""Patterns in the config of an adapter, which may come from anybody."""

import pytest

from alpha_callbacks.errors import CheckpointError
from alpha_callbacks.weights.adapters.scaling import alpha_of, config_in_header, rank_of


def test_names_and_patterns_are_matched_at_the_end_of_a_path() -> None:
    config = {"lora_alpha": 16, "alpha_pattern": {"v_proj": 2, r"layers\.\d+\.q_proj": 3, "^model.o_proj": 4}}
    for module, alpha in (("model.layers.0.q_proj", 3), ("v_proj", 2), ("model.o_proj", 4), ("a.model.o_proj", 16)):
        assert alpha_of(module, config) == alpha
    assert alpha_of("my_v_proj", config) == 16


@pytest.mark.parametrize("pattern", ["((a?){99}){99}!", "[", r"(a)\1"])
def test_a_pattern_that_cannot_be_matched_ends_the_scan_with_its_name(pattern: str) -> None:
    with pytest.raises(CheckpointError, match="adapter_config.json: expected names or simple patterns in rank_pattern"):
        rank_of("model." + "a" * 99, {"rank_pattern": {pattern: 4}})


def test_a_header_nested_without_end_says_nothing() -> None:
    assert config_in_header({"lora_adapter_metadata": '{"a":' * 30_000}, "unet.x") == {}
