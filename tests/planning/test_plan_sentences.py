from dataclasses import asdict

from alpha_callbacks.planning.plan_sentences import sentences_of
from alpha_callbacks.planning.recommend_options import RecommendOptions


def test_options_are_sentences_and_those_of_other_policies_left_out() -> None:
    for policy in ("measured", "fisher", "alphaq", "thresholds"):
        options = RecommendOptions(policy=policy, keep="k_proj")
        said = sentences_of(policy, {**asdict(options), "candidates": ["int8", "int4_g32"]})
        text = " ".join(said)
        assert said[0].startswith(f"Policy {policy}: ") and "Chosen among int8 and int4_g32." in said
        assert "k_proj stay at 16 bits" in text and all(sentence.endswith(".") for sentence in said)
        assert ("power 1" in text) == (policy == "alphaq")
        assert ("below 2.5" in text) == (policy == "thresholds")
        assert not {"[", "{", "(2", "None", "False", "="} & set(text.replace("(q", "").replace("(s", ""))


def test_settings_of_a_plan_made_by_hand_are_told_as_they_are() -> None:
    assert sentences_of("mine", {"note": "a <b>", "avg_bits": None, "untied": True}) == [
        "Made by mine.",
        "note: a <b>.",
        "Layers that a server fuses may differ in format; vLLM cannot load that.",
    ]
