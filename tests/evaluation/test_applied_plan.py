"""Plans tried on a model and taken back, bit for bit."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from alpha_callbacks.errors import PlanError
from alpha_callbacks.evaluation.applied_plan import Applied
from alpha_callbacks.evaluation.writable_weights import matrices
from alpha_callbacks.planning.plan import Choice, Plan
from alpha_callbacks.precisions.registry import get_precision
from tests.conftest import noise

LOW = ("int4", "int3_g32", "nf4", "mxfp4", "nvfp4", "fp8_e4m3_block128", "fp8_e4m3_tensor", "int8_tensor", "fp16")


def net(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    model = nn.Sequential(nn.Linear(300, 260), nn.Linear(260, 64)).to(dtype)
    for i, layer in enumerate(model):
        layer.weight.data.copy_(noise(*layer.weight.shape, seed=i))
    return model


def plan(model: nn.Sequential, *formats: str) -> Plan:
    shapes = [tuple(layer.weight.shape) for layer in model]
    return Plan(tuple(Choice(str(i), "other", *shapes[i], name) for i, name in enumerate(formats)))


def weights(model: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("name", LOW)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_are_the_round_trip_and_come_back(
    name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alpha_callbacks.weights.weight.BLOCK_ELEMENTS", 300 * 50)  # many blocks
    model = net(dtype)
    before = weights(model)
    with Applied(model, plan(model, name, name)) as applied:
        applied.use(plan(model, name, "bf16"))
        whole = get_precision(name).round_trip(before[0], float(before[0].abs().max()))
        assert torch.equal(model[0].weight, whole.to(dtype))
        assert torch.equal(model[1].weight, before[2].bfloat16().to(dtype))
        assert same([model[0].bias, model[1].bias], [before[1], before[3]])
    assert same(weights(model), before)


def test_each_plan_starts_from_the_originals() -> None:
    model = net()
    with Applied(model, plan(model, "int4", "int4")) as applied:
        applied.use(plan(model, "int4", "int3_g32"))
        expected = weights(model)
        applied.use(plan(model, "int2", "int2"))
        applied.use(plan(model, "int4", "int3_g32"))
        assert same(weights(model), expected)


def test_only_what_changes_is_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model, written = net(), list[int]()
    real: Callable[..., None] = Applied._write
    monkeypatch.setattr(Applied, "_write", lambda self, i, *rest: (written.append(i), real(self, i, *rest))[1])
    with Applied(model, plan(model, "int4", "int4")) as applied:
        applied.use(plan(model, "int4", "int4"))
        applied.use(plan(model, "int4", "int8"))
        applied.use(plan(model, "int4", "int8"))
    assert written == [0, 1, 1]


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_restored_after_an_error_inside(error: type[BaseException]) -> None:
    model = net()
    before = weights(model)
    with pytest.raises(error), Applied(model, plan(model, "int4", "int4")) as applied:
        applied.use(plan(model, "int4", "int4"))
        raise error
    assert same(weights(model), before)


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_restored_after_an_error_while_writing(error: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alpha_callbacks.weights.weight.BLOCK_ELEMENTS", 300 * 16)
    model, calls = net(), list[int]()
    before = weights(model)
    int4 = get_precision("int4")

    class Stops:
        name, row_multiple = "int4", 1

        def holds(self, dtype: torch.dtype) -> bool:
            return False

        def round_trip(self, rows: Tensor, largest: float) -> Tensor:
            calls.append(len(rows))
            if len(calls) == 3:  # in the middle of a matrix
                raise error
            return int4.round_trip(rows, largest)

    monkeypatch.setattr("alpha_callbacks.evaluation.applied_plan.get_precision", lambda name: Stops())
    with pytest.raises(error), Applied(model, plan(model, "int4", "int4")) as applied:
        applied.use(plan(model, "int4", "int4"))
    assert len(calls) == 3
    assert same(weights(model), before)


def test_pressed_once_more_while_restoring(monkeypatch: pytest.MonkeyPatch) -> None:
    model, real, pressed = net(), Applied.use, list[int]()
    before = weights(model)

    def use(self: Applied, plan: Plan | None) -> None:
        if plan is None and not pressed:
            pressed.append(1)
            raise KeyboardInterrupt
        real(self, plan)

    monkeypatch.setattr(Applied, "use", use)
    with pytest.raises(KeyboardInterrupt), Applied(model, plan(model, "int4", "int4")) as applied:
        applied.use(plan(model, "int4", "int4"))
    assert same(weights(model), before)


def test_originals_that_bf16_holds_take_half_the_memory() -> None:
    model = net().bfloat16().float()
    with Applied(model, plan(model, "int4", "int4")) as applied:
        applied.use(plan(model, "int4", "int4"))
        assert {tensor.dtype for tensor in applied._originals.values()} == {torch.bfloat16}


def test_a_format_that_holds_the_weights_needs_no_copy() -> None:
    model = net()
    with Applied(model, plan(model, "fp32", "fp64")) as applied:
        applied.use(plan(model, "fp32", "fp64"))
        assert not applied._originals


def test_damaged_weights() -> None:
    model = net()
    with torch.no_grad():
        model[0].weight[0, 0] = float("nan")
    with pytest.raises(PlanError, match="0: expected finite weights"), Applied(model, plan(model, "int4", "int4")) as a:
        a.use(plan(model, "int4", "int4"))


class Tied(nn.Module):
    """A language head that is the embedding, beside a layer that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens, self.fc = nn.Embedding(96, 64), nn.Linear(64, 64)
        self.lm_head = nn.Linear(64, 96, bias=False)
        self.lm_head.weight = self.embed_tokens.weight


@pytest.mark.parametrize("wide", ["bf16", "fp16"])
def test_a_tied_head_at_16_bits_leaves_the_embedding_as_found(wide: str) -> None:
    model = Tied()
    before = weights(model)
    head, fc = (Choice(name, "other", *matrices(model)[name].shape, wide) for name in ("lm_head", "fc"))
    with Applied(model, Plan((head, fc))) as applied:
        applied.use(Plan((head, fc)))
        assert torch.equal(model.embed_tokens.weight, before[0])
        assert torch.equal(model.fc.weight, before[1].to(get_precision(wide).dtype).float())
        assert not torch.equal(model.fc.weight, before[1])
    assert same(weights(model), before)


def test_a_tied_head_below_16_bits_is_refused() -> None:
    model = Tied()
    before = weights(model)
    tied = Plan((Choice("fc", "other", 64, 64, "int4"), Choice("lm_head", "lm_head", 96, 64, "int4")))
    refused = (
        r"lm_head: expected 16 bits for what shares its storage with the embedding, got int4_g32\. Keep it at bf16"
    )
    with pytest.raises(PlanError, match=refused), Applied(model, tied) as applied:
        applied.use(tied)
    assert same(weights(model), before)


def test_layers_that_share_a_weight_change_together() -> None:
    model = net()
    model.append(nn.Linear(260, 64))
    model[2].weight = model[1].weight
    before = weights(model)
    shared = Plan((Choice("2", "other", 64, 260, "int4"),))  # one row in a scan, under this name
    with Applied(model, shared) as applied:
        applied.use(shared)
        assert model[2].weight is model[1].weight
        assert not torch.equal(model[1].weight, before[2])
    assert same(weights(model), before)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_signed_zeros_subnormals_and_extremes_come_back(dtype: torch.dtype) -> None:
    model, info = net(dtype), torch.finfo(dtype)
    odd = torch.tensor([-0.0, 0.0, info.tiny, -info.tiny * info.eps, info.max, info.min], dtype=dtype)
    with torch.no_grad():
        model[1].weight[0, : len(odd)] = odd
    bits = model[1].weight.detach().clone().view(torch.uint8)
    with Applied(model, plan(model, "int8", "int8")) as applied:
        applied.use(plan(model, "int8", "int8"))
        assert not torch.equal(model[1].weight.view(torch.uint8), bits)
    assert torch.equal(model[1].weight.view(torch.uint8), bits)


def test_parts_of_one_matrix_that_differ() -> None:
    names = [f"layers.0.attn.qkv_proj.{part}" for part in "qkv"]
    choices = [Choice(n, "attn_q", 8, 32, p) for n, p in zip(names, ("int4", "int4", "int8"), strict=True)]

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([nn.ModuleDict({"attn": nn.ModuleDict({"qkv_proj": nn.Linear(32, 24)})})])

    model, differing = Attention(), Plan(tuple(choices))
    with pytest.raises(PlanError, match="expected one precision for the parts"), Applied(model, differing) as applied:
        applied.use(differing)
