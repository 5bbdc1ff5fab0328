from collections.abc import Iterator

import pytest

from alpha_callbacks.errors import PlanError
from alpha_callbacks.planning.export_plan import export_plan
from alpha_callbacks.precisions import registry
from alpha_callbacks.precisions.encoding import Encoding
from alpha_callbacks.precisions.precision import Precision
from tests.support.plan_examples import TARGETS, plan_of


@pytest.fixture
def third_party(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Register two third-party formats; the name of the first looks like a built-in one."""
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    fields = Encoding("int", 5, "group", 64)
    registry.register(Precision("int4_theirs", (), 4, None, lambda rows, largest: rows))
    registry.register(Precision("theirs_5", (), 5, None, lambda rows, largest: rows, encoding=fields))
    yield


@pytest.mark.usefixtures("third_party")
@pytest.mark.parametrize("target", TARGETS)
def test_a_format_without_an_encoding_is_refused(target: str) -> None:
    name = TARGETS[target].names[0]
    message = (
        rf"^{target}: expected a format with an encoding, got int4_theirs for {name}, which can be measured but not"
    )
    with pytest.raises(PlanError, match=message):
        export_plan(plan_of({name: "int4_theirs"}), target)


@pytest.mark.usefixtures("third_party")
def test_a_format_of_someone_else_is_exported_by_its_fields() -> None:
    plan = plan_of({"fc": "theirs_5"})
    text = export_plan(plan, "compressed-tensors").text
    assert '"num_bits": 5' in text and '"group_size": 64' in text
    with pytest.raises(PlanError, match=r"gguf: cannot hold theirs_5"):
        export_plan(plan_of({"blk.0.attn_q": "theirs_5"}), "gguf")
