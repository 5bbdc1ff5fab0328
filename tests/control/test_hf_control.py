"""Layer-wise control in real runs of Hugging Face's Trainer."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from alpha_callbacks.control.control_log import FILE
from alpha_callbacks.control.parameter_groups import split_per_layer
from alpha_callbacks.errors import OptionError
from alpha_callbacks.sinks.sink import MemorySink
from tests.support.hf_runs import model, trainer

pytest.importorskip("transformers")
pytest.importorskip("accelerate")
from alpha_callbacks.control.hf_control import AlphaControlTrainerCallback

OPTIONS: dict[str, Any] = dict(rule="llr", every=2, ramp=3, until=1.0, min_eigs=16)
DECAYED = dict(weight_decay=0.1, lr_scheduler_type="cosine")


def controlled(folder: Path, callback: Any, **options: Any) -> tuple[Any, list[list[float]]]:
    """Return a trainer with split groups, and the learning rates that its optimizer will step with."""
    run = trainer(folder, [callback] if callback else [], **{**DECAYED, **options})
    run.create_optimizer()
    split_per_layer(run.model, run.optimizer)
    return run, within_steps(run.optimizer, "lr")


def within_steps(optimizer: torch.optim.Optimizer, setting: str) -> list[list[float]]:
    """Return a list that grows by the settings that each step has used: the hook comes before that of the control."""
    seen: list[list[float]] = []
    optimizer.register_step_post_hook(lambda o, args, kwargs: seen.append([g[setting] for g in o.param_groups]))
    return seen


def weights(run: Any) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in run.model.parameters()])


def test_a_run_and_its_resumption_are_bit_for_bit_the_same(tmp_path: Path) -> None:
    memory = MemorySink()
    run, inside = controlled(tmp_path / "a", AlphaControlTrainerCallback(**OPTIONS, sinks=[memory]))
    run.train()
    assert [step for step, _ in memory.values] == [0, 2, 4, 6]
    assert len({value for row in inside for value in row}) > 20
    for step in (2, 4):
        again, steps = controlled(tmp_path / "a", AlphaControlTrainerCallback(**OPTIONS, sinks=[]))
        again.train(resume_from_checkpoint=str(tmp_path / "a" / f"checkpoint-{step}"))
        assert steps == inside[step:]
        assert torch.equal(weights(again), weights(run))


def test_the_scheduler_and_the_log_of_the_trainer_see_their_own_values(tmp_path: Path) -> None:
    rates = []
    for callback in (None, AlphaControlTrainerCallback(**OPTIONS)):
        run, _ = controlled(tmp_path, callback, save_strategy="no")
        run.train()
        rates.append([row["learning_rate"] for row in run.state.log_history if "learning_rate" in row])
        assert {group["initial_lr"] for group in run.optimizer.param_groups} == {1e-2}
    assert rates[0] == rates[1] and len(rates[0]) == 6
    assert (tmp_path / "alpha_control" / FILE).is_file()


def test_weight_decay_is_multiplied_only_where_there_is_one(tmp_path: Path) -> None:
    callback = AlphaControlTrainerCallback("alphadecay", every=2, min_eigs=16)
    run, _ = controlled(tmp_path, callback, save_strategy="no")
    seen = within_steps(run.optimizer, "weight_decay")
    run.train()
    assert {group["weight_decay"] for group in run.optimizer.param_groups} == {0.0, 0.1}
    assert max(max(row) for row in seen) == pytest.approx(0.5)
    assert min(min(value for value in row if value) for row in seen) == pytest.approx(0.06666)


def test_gradient_accumulation_counts_optimizer_steps(tmp_path: Path) -> None:
    memory = MemorySink()
    options = dict(per_device_train_batch_size=2, gradient_accumulation_steps=2, save_strategy="no")
    run, inside = controlled(tmp_path, AlphaControlTrainerCallback(**OPTIONS, sinks=[memory]), **options)
    run.train()
    assert [step for step, _ in memory.values] == [0, 2, 4, 6] and len(inside) == 6


def test_the_optimizer_that_the_trainer_makes_is_refused_before_its_first_step(tmp_path: Path) -> None:
    run = trainer(tmp_path, [AlphaControlTrainerCallback(**OPTIONS)])
    before = weights(run)
    with pytest.raises(OptionError, match="Split the groups before training: split_per_layer"):
        run.train()
    assert torch.equal(weights(run), before)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
def test_adapters_alone_have_no_rule(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    net = peft.get_peft_model(model(), peft.LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM"))
    run = trainer(tmp_path, [AlphaControlTrainerCallback(**OPTIONS)], net)
    run.create_optimizer()
    split_per_layer(run.model, run.optimizer)
    with pytest.raises(OptionError, match="expected layers that are trained, found none"):
        run.train()


def test_reporters_get_the_values(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run, _ = controlled(tmp_path, AlphaControlTrainerCallback(**OPTIONS), save_strategy="no", report_to=["tensorboard"])
    run.train()
    (folder,) = (tmp_path / "runs").iterdir()
    events = accumulator.EventAccumulator(str(folder))
    events.Reload()
    assert [event.step for event in events.Scalars("alpha_control/lr_max")] == [0, 2, 4, 6]
    assert "alpha_control_lr/model_layers_1_self_attn_q_proj" in events.Tags()["scalars"]
