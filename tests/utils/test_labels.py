from hypothesis import given
from hypothesis import strategies as st

from alpha_callbacks.utils.labels import labels, row_labels

WORD = st.text("abcdefgh_01", min_size=1, max_size=40)
NAMES = st.lists(st.lists(WORD, min_size=1, max_size=6).map(".".join), max_size=12, unique=True)


@given(NAMES)
def test_no_two_labels_are_alike(names: list[str]) -> None:
    assert len(set(labels(names))) == len(names) == len(labels(names))


def test_names_that_fit_stay_as_they_are() -> None:
    assert labels(["lm_head", "model.embed_tokens"]) == ["lm_head", "model.embed_tokens"]
    assert labels([]) == []


def test_what_all_begin_with_goes_first_then_the_middle_of_long_words() -> None:
    found = labels([f"net.encoder.stage{i}.a_projection_of_the_residual_stream" for i in range(12)])
    assert [f"stage{i}." in label for i, label in enumerate(found)] == [True] * 12
    assert all(len(label) <= 32 and "…" in label and not label.startswith("net") for label in found)


def test_a_lone_name_keeps_both_ends() -> None:
    (found,) = labels(["a_classification_head.for_the_downstream_task"])
    assert len(found) <= 32 and found.startswith("a_") and found.endswith("_task")


def test_what_differs_in_the_middle_only_stays_longer() -> None:
    found = labels([f"encoder.block.{i}.layer.0.SelfAttention.query_key" for i in range(3)] + ["decoder"])
    assert len(set(found)) == 4 and all(f".{i}." in label for i, label in enumerate(found[:3]))


def test_rows_under_their_category() -> None:
    names = ["h.0.q", "h.1.q", "h.0.experts.0.up", "h.0.experts.1.up", "head"]
    assert row_labels(names, list("qqmmh"), [0, 1, 0, 0, None]) == ["0", "1", *names[2:]]
