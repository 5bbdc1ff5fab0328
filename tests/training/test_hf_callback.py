"""The Hugging Face callback in real Trainer runs on a tiny Llama."""

import csv
import functools
import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from alpha_callbacks.checkpoints.locate import EMBEDDED
from alpha_callbacks.errors import OptionError
from alpha_callbacks.sinks.sink import MemorySink
from alpha_callbacks.sinks.snapshot import Snapshot
from tests.support.counting import count_analyses
from tests.support.hf_runs import model, trainer
from tests.support.scan_runs import scanned_table

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from alpha_callbacks.training.hf_callback import AlphaHillTrainerCallback  # noqa: E402
from tests.support.warm import run_code  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:transformers.*"),
    pytest.mark.filterwarnings("ignore::FutureWarning:transformers.*"),
]
PRECISIONS = ("fp32", "bf16")
FEW: dict[str, Any] = {"precisions": PRECISIONS, "include": "q_proj"}  # where it matters when, not what is measured


class Witness(MemorySink):
    """A sink that compares, at the moment of analysis, the live weights with the checkpoint folder of that step."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder, self.net, self.saved = folder, None, list[int]()

    def log(self, snapshot: Snapshot) -> None:
        from safetensors.torch import load_file

        super().log(snapshot)
        file = self.folder / f"checkpoint-{snapshot.step}" / "model.safetensors"
        if snapshot.event == "checkpoint":
            assert (file.parent / "optimizer.pt").exists() and (file.parent / "trainer_state.json").exists()
            content, live = load_file(file), self.net.state_dict()  # type: ignore[attr-defined]
            assert all(torch.equal(content[name], live[name]) for name in content)
            self.saved.append(snapshot.step)


def steps(memory: MemorySink) -> list[tuple[int, str]]:
    return [(s.step, s.event) for s in memory.snapshots]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [(0, "start"), (2, "checkpoint"), (4, "checkpoint"), (6, "end")]),
        ({"save_strategy": "epoch"}, [(0, "start"), (3, "checkpoint"), (6, "end")]),
        ({"save_strategy": "no"}, [(0, "start"), (6, "end")]),
        ({"save_total_limit": 1}, [(0, "start"), (2, "checkpoint"), (4, "checkpoint"), (6, "end")]),
        ({"gradient_accumulation_steps": 2, "save_steps": 1}, [(0, "start"), (1, "checkpoint"), (2, "checkpoint"),
                                                               (3, "checkpoint"), (4, "end")]),
        ({"max_steps": 5}, [(0, "start"), (2, "checkpoint"), (4, "checkpoint"), (5, "end")]),
    ],
    ids=["steps", "epoch", "no", "save_total_limit", "accumulation", "max_steps"],
)  # fmt: skip
def test_event_matrix(options: dict[str, Any], expected: list[tuple[int, str]], tmp_path: Path) -> None:
    witness = Witness(tmp_path)
    run = trainer(tmp_path, [AlphaHillTrainerCallback(**FEW, sinks=[witness])], **options)
    witness.net = run.model
    run.train()
    assert steps(witness) == expected
    assert witness.saved == [step for step, event in expected if event == "checkpoint"]


def test_alphas_are_those_of_a_scan_of_the_checkpoint(tmp_path: Path) -> None:
    memory = MemorySink()
    trainer(tmp_path, [AlphaHillTrainerCallback(precisions=PRECISIONS, sinks=[memory])]).train()
    assert [step for step, _ in steps(memory)] == [0, 2, 4, 6]
    for snapshot in memory.snapshots[1:]:
        folder = tmp_path / f"checkpoint-{snapshot.step}"
        scanned = scanned_table(folder, tmp_path / f"scan{snapshot.step}", PRECISIONS)
        assert len(scanned) == len(snapshot.table) == 15
        assert {(r.layer_name, r.precision): r.alpha for r in scanned} == pytest.approx(
            {(r.layer_name, r.precision): r.alpha for r in snapshot.table}, rel=1e-12
        )


class WritesAverage(transformers.TrainerCallback):  # type: ignore[name-defined, misc]
    """Keeps an average, and writes it over the weights in each checkpoint."""

    def __init__(self) -> None:
        self.values: dict[str, torch.Tensor] = {}

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        for name, parameter in kwargs["model"].named_parameters():
            self.values[name] = self.values.get(name, parameter.detach()).lerp(parameter.detach(), 0.5)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        from safetensors.torch import save_file

        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        save_file(self.values, folder / "model.safetensors", metadata={"format": "pt"})


def swapping(run: Any) -> Any:
    """Return the trainer with a `save_model` that saves an average, as torch_ema's context does."""
    average, save = WritesAverage(), run.save_model

    def save_model(*args: Any, **kwargs: Any) -> None:
        average.on_step_end(None, None, None, model=run.model)
        live = {name: parameter.detach().clone() for name, parameter in run.model.named_parameters()}
        for name, parameter in run.model.named_parameters():
            parameter.data.copy_(average.values[name] * live[name].sign())
        save(*args, **kwargs)
        for name, parameter in run.model.named_parameters():
            parameter.data.copy_(live[name])

    run.save_model = save_model
    return run


@pytest.mark.parametrize("kind", ["ours first", "ours last", "save_model"])
def test_rows_are_those_of_an_averaged_file(kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    memory = MemorySink()
    ours = AlphaHillTrainerCallback(precisions=PRECISIONS, sinks=[memory], on_error="raise")
    callbacks = {"ours first": [ours, WritesAverage()], "ours last": [WritesAverage(), ours], "save_model": [ours]}
    run = trainer(tmp_path, callbacks[kind])
    held = list(run.callback_handler.callbacks)
    with caplog.at_level(logging.WARNING):
        (swapping(run) if kind == "save_model" else run).train()
    assert steps(memory) == [(0, "start"), (2, "checkpoint"), (4, "checkpoint"), (6, "end")]
    for snapshot in memory.snapshots[1:]:
        scanned = scanned_table(tmp_path / f"checkpoint-{snapshot.step}", tmp_path / f"s{snapshot.step}", PRECISIONS)
        assert {(r.layer_name, r.precision): r.alpha for r in scanned} == pytest.approx(
            {(r.layer_name, r.precision): r.alpha for r in snapshot.table}, rel=1e-12
        )
    assert "holds other values than the model in training" in caplog.text
    assert run.callback_handler.callbacks == held


def test_retries_with_smaller_batches_measure_the_start_once(tmp_path: Path) -> None:
    """`auto_find_batch_size` begins the same run again until a batch fits."""
    memory, net = MemorySink(), model()
    forward = net.forward

    @functools.wraps(forward)
    def too_large(*args: Any, **kwargs: Any) -> Any:
        if len(kwargs["input_ids"]) > 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate")
        return forward(*args, **kwargs)

    net.forward = too_large
    callback = AlphaHillTrainerCallback(**FEW, sinks=["csv", memory])
    options = {"auto_find_batch_size": True, "per_device_train_batch_size": 8, "max_steps": 4}
    trainer(tmp_path, [callback], net, **options).train()
    assert steps(memory) == [(0, "start"), (2, "checkpoint"), (4, "end")]
    rows = list(csv.DictReader((tmp_path / "alpha_hill" / "alpha_hill_history.csv").read_text().splitlines()))
    assert list(dict.fromkeys((row["step"], row["event"]) for row in rows)) == [
        ("0", "start"), ("2", "checkpoint"), ("4", "end"),
    ]  # fmt: skip


@pytest.mark.parametrize("every", [3, "epoch"])
def test_a_file_that_gets_no_rows_is_told_if_it_differs(
    every: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    memory = MemorySink()
    ours = AlphaHillTrainerCallback(every=every, **FEW, sinks=[memory])
    trainer(tmp_path, [ours, WritesAverage()], max_steps=3).train()  # saved at step 2
    assert "checkpoint-2 holds other values than the model" in caplog.text and caplog.text.count("holds other") == 1
    assert [step for step, _ in steps(memory)] == [0, 3]


@pytest.mark.parametrize(
    ("every", "options"),
    [("checkpoint", {}), (2, {}), ("epoch", {"save_strategy": "epoch"}), ("train_end", {"save_strategy": "epoch"})],
)
def test_a_checkpoint_of_the_same_step_is_written_first(every: Any, options: dict[str, Any], tmp_path: Path) -> None:
    """Whatever happens in the analysis, the files are there, those of the last step too."""
    missing = []

    class Sink(MemorySink):
        def log(self, snapshot: Snapshot) -> None:
            super().log(snapshot)
            if snapshot.step and not (tmp_path / f"checkpoint-{snapshot.step}" / "trainer_state.json").exists():
                missing.append(snapshot.step)

    memory = Sink()
    trainer(tmp_path, [AlphaHillTrainerCallback(every=every, **FEW, sinks=[memory])], **options).train()
    assert memory.snapshots[-1].step == 6 and missing == []


@pytest.mark.parametrize("every", ["checkpoint", "train_end", 4, "epoch"])
def test_the_last_state_of_a_run_that_stops_early_is_measured(every: Any, tmp_path: Path) -> None:
    memory = MemorySink()
    run = trainer(
        tmp_path,
        [
            AlphaHillTrainerCallback(every=every, precisions=PRECISIONS, sinks=[memory]),
            transformers.EarlyStoppingCallback(early_stopping_patience=1),
        ],
        eval_strategy="steps", eval_steps=1, save_steps=1, load_best_model_at_end=True, metric_for_best_model="loss",
        greater_is_better=True,
    )  # fmt: skip
    run.train()
    assert run.state.global_step == 2 and memory.snapshots[-1].step == 2
    last = scanned_table(tmp_path / "checkpoint-2", tmp_path / "scan", PRECISIONS)
    assert [r.alpha for r in memory.snapshots[-1].table] == [r.alpha for r in last]


def test_a_search_reads_the_checkpoint_of_the_trial_that_runs(tmp_path: Path) -> None:
    from types import SimpleNamespace

    from alpha_callbacks.training.hf_callback import _checkpoint_folder

    for age, trial in enumerate(("run-2", "run-0", "mine")):
        (tmp_path / trial / "checkpoint-5").mkdir(parents=True)
        os.utime(tmp_path / trial / "checkpoint-5", (1000 + age, 1000 + age))
    args: Any = SimpleNamespace(output_dir=str(tmp_path))
    state: Any = SimpleNamespace(global_step=5, is_hyper_param_search=True)
    assert _checkpoint_folder(args, state) == tmp_path / "mine" / "checkpoint-5"
    state.is_hyper_param_search = False
    assert _checkpoint_folder(args, state) == tmp_path / "checkpoint-5"


def test_the_checkpoint_of_an_adapter_gives_rows_of_its_update(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    net = peft.get_peft_model(model(), peft.LoraConfig(r=2, target_modules=["q_proj"]))
    callback = AlphaHillTrainerCallback(precisions=PRECISIONS, sinks=[], weights="checkpoint")
    run = trainer(tmp_path, [callback], net)
    run.train()
    assert callback.monitor.last is not None and callback.monitor.last.step == 6
    assert {(row.layer_name.rpartition("q_proj")[2], row.status) for row in callback.monitor.last.table} == {
        (" (update)", "rank_deficient")
    }


@pytest.mark.parametrize(
    ("every", "expected"), [("epoch", [0, 3, 6]), (1, [0, 1, 2, 3, 4, 5, 6]), (4, [0, 4, 6]), ("train_end", [0, 6])]
)
def test_other_schedules(every: Any, expected: list[int], tmp_path: Path) -> None:
    memory = MemorySink()
    trainer(tmp_path, [AlphaHillTrainerCallback(every=every, **FEW, sinks=[memory])]).train()
    assert [s.step for s in memory.snapshots] == expected


def test_csv_beside_the_checkpoints_and_nothing_of_ours_in_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = trainer(tmp_path, [AlphaHillTrainerCallback(precisions=PRECISIONS)])
    with caplog.at_level(logging.WARNING):
        run.train()
    assert caplog.text.count("the Trainer reports to nothing; results go to") == 1
    with (tmp_path / "alpha_hill" / "alpha_hill_history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * 15 * 2
    state = json.loads((tmp_path / "checkpoint-6" / "trainer_state.json").read_text())
    assert "AlphaHill" not in json.dumps(state)
    assert not any("alpha_hill" in key for entry in run.state.log_history for key in entry)


@pytest.mark.parametrize("restore", [False, True])
def test_a_run_is_resumed_with_the_callback_from_a_checkpoint_made_without(tmp_path: Path, restore: bool) -> None:
    trainer(tmp_path, []).train()
    memory = MemorySink()
    callback = AlphaHillTrainerCallback(**FEW, sinks=["csv", memory])
    run = trainer(tmp_path, [callback], restore_callback_states_from_checkpoint=restore, num_train_epochs=3)
    run.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert steps(memory) == [(4, "start"), (6, "checkpoint"), (8, "checkpoint"), (9, "end")]


def test_a_resumed_run_continues_the_history(tmp_path: Path) -> None:
    for resume in (None, str(tmp_path / "checkpoint-4")):
        callback = AlphaHillTrainerCallback(precisions=PRECISIONS, sinks=["csv"])
        trainer(tmp_path, [callback]).train(resume_from_checkpoint=resume)
    with (tmp_path / "alpha_hill" / "alpha_hill_history.csv").open(newline="") as file:
        keys = [(int(r["step"]), r["layer_name"], r["precision"]) for r in csv.DictReader(file)]
    assert len(keys) == len(set(keys)) == 4 * 15 * 2
    assert list(dict.fromkeys(step for step, _, _ in keys)) == [0, 2, 4, 6]


@pytest.mark.parametrize("best", [True, False])
def test_the_best_model_is_not_taken_for_the_last(best: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """At on_train_end the weights are the best ones; the last ones were measured before they were replaced."""
    memory = MemorySink()
    run = trainer(
        tmp_path,
        [AlphaHillTrainerCallback(precisions=PRECISIONS, sinks=[memory])],
        eval_strategy="steps",
        eval_steps=2,
        load_best_model_at_end=True,
        metric_for_best_model="loss",
        greater_is_better=best,  # the loss falls: True, so that an early one is "best"
    )
    run.train()
    assert (run.state.best_global_step < 6) is best
    told = [r.getMessage() for r in caplog.records if "the rows of step 6 are not of the weights" in r.getMessage()]
    assert len(told) == best and all("those of the best checkpoint" in text for text in told)
    last = scanned_table(tmp_path / "checkpoint-6", tmp_path / "scan", PRECISIONS)
    assert memory.snapshots[-1].step == 6
    got = {r.layer_name: r.alpha for r in memory.snapshots[-1].table}
    assert got == pytest.approx({r.layer_name: r.alpha for r in last}, rel=1e-12)


class SwapsAtTheEnd(transformers.TrainerCallback):
    """Leaves an average in the model when training ends, as callbacks that keep one do."""

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        with torch.no_grad():
            kwargs["model"].lm_head.weight.mul_(0.5)


@pytest.mark.parametrize("after", [True, False])
def test_what_another_callback_puts_into_the_model_at_the_end_is_told(
    after: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ours = AlphaHillTrainerCallback(precisions=("fp32",), include="lm_head", sinks=[])
    run = trainer(tmp_path, [ours, SwapsAtTheEnd()] if after else [SwapsAtTheEnd(), ours])
    count = len(run.callback_handler.callbacks)
    run.train()
    told = [r.getMessage() for r in caplog.records if "the rows of step 6 are not of the weights" in r.getMessage()]
    assert len(told) == 1 and "callback.run_now(module, 7)" in told[0]
    assert len(run.callback_handler.callbacks) == count and not ours.monitor.running


def test_training_is_bit_for_bit_the_same(tmp_path: Path) -> None:
    plain = trainer(tmp_path / "a", [])
    plain.train()
    for background in (False, True):
        callback = AlphaHillTrainerCallback(every=1, precisions=PRECISIONS, background=background)
        watched = trainer(tmp_path / f"b{background}", [callback])
        watched.train()
        pairs = zip(plain.model.parameters(), watched.model.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
        assert callback.monitor.last is not None and callback.monitor.last.step == 6


def test_an_error_of_ours_costs_neither_step_nor_checkpoint(
    tmp_path: Path, bug_after_the_start: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    run = trainer(tmp_path, [AlphaHillTrainerCallback(**FEW, sinks=[])])
    with caplog.at_level(logging.WARNING):
        run.train()
    assert run.state.global_step == 6 and (tmp_path / "checkpoint-6" / "model.safetensors").exists()
    assert caplog.text.count("a bug of ours") == 1 and len(bug_after_the_start) > 2


def test_weights_of_the_checkpoint(tmp_path: Path) -> None:
    memory = MemorySink()
    callback = AlphaHillTrainerCallback(**FEW, sinks=[memory], weights="checkpoint")
    trainer(tmp_path, [callback]).train()
    assert steps(memory) == [(2, "checkpoint"), (4, "checkpoint"), (6, "end")]


def tensorboard_tags(folder: Path) -> dict[str, list[str]]:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    (file,) = folder.rglob("events.out.tfevents.*")  # one writer, one file
    events = accumulator.EventAccumulator(str(file), size_guidance={"images": 0, "tensors": 0})
    events.Reload()
    return {tag: [str(event.step) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


@pytest.mark.parametrize("attached", [False, True])
def test_the_runs_own_tensorboard_writer_is_shared(tmp_path: Path, attached: bool, monkeypatch: Any) -> None:
    """Found on its own, or told by attach(); all states, the last too, are in the run's one file."""
    pytest.importorskip("tensorboard")
    callback = AlphaHillTrainerCallback(**FEW)
    run = trainer(tmp_path, [callback], report_to=["tensorboard"])
    if attached:
        assert callback.attach(run) is callback
        monkeypatch.setattr("alpha_callbacks.training.hf_callback.reporters_of_caller", lambda: ())
    run.train()
    tags = tensorboard_tags(tmp_path / "runs")
    assert tags["alpha_hill_more/mean_bf16"] == ["0", "2", "4", "6"] and "train/loss" in tags


def test_lora_base_is_analysed_once_under_clean_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    peft = pytest.importorskip("peft")
    seen, memory = count_analyses(monkeypatch), MemorySink()
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], modules_to_save=["lm_head"])
    net = peft.get_peft_model(model(), config)
    callback = AlphaHillTrainerCallback(precisions=PRECISIONS, sinks=[memory], adapters="base")
    trainer(tmp_path, [callback], net).train()
    names = [layer.first.layer_name for layer in memory.snapshots[0].table.layers]
    assert sorted(seen) == sorted([*names, *["lm_head"] * 3])  # the base once, the trained copy of the head each time
    assert [s.reused for s in memory.snapshots] == [0, 14, 14, 14]
    plain = plain_table(tmp_path / "plain")
    assert names == [layer.first.layer_name for layer in plain.layers]
    assert [r.alpha for r in memory.snapshots[0].table] == [r.alpha for r in plain]


def test_under_lora_the_rows_are_those_of_what_moves(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    peft = pytest.importorskip("peft")
    memory = MemorySink()
    net = peft.get_peft_model(model(), peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))
    trainer(tmp_path, [AlphaHillTrainerCallback(precisions=PRECISIONS, sinks=[memory])], net).train()
    first, last = memory.snapshots[0].table, memory.snapshots[-1].table
    names = [layer.first.layer_name for layer in last.layers]
    assert names[::2] == [layer.first.layer_name for layer in last.weights.layers]
    assert names[1::2] == [f"{name} (update)" for name in names[::2]]
    assert {row.category for row in last} == {"attn_q", "attn_q_update", "attn_v", "attn_v_update"}
    assert {row.status for row in first if row.is_update} == {"unchanged"}
    moved = [row for row in last if row.is_update]
    assert all(0 < row.relative_size < 1 and 1 <= row.stable_rank <= 2 for row in moved)
    assert memory.snapshots[-1].failed_layers == 0 and caplog.text.count("under PEFT the rows are those of what") == 1


def plain_table(folder: Path) -> Any:
    """Return the table of the same model without adapters."""
    memory = MemorySink()
    callback = AlphaHillTrainerCallback(precisions=PRECISIONS, sinks=[memory], every="train_end")
    trainer(folder, [callback], max_steps=1).train()
    return memory.snapshots[0].table


def test_the_embedded_llama_trains(tmp_path: Path) -> None:
    net = transformers.AutoModelForCausalLM.from_pretrained(EMBEDDED, dtype=torch.float32)
    memory = MemorySink()
    trainer(tmp_path, [AlphaHillTrainerCallback(precisions=PRECISIONS, sinks=[memory])], net, max_steps=2).train()
    assert [s.step for s in memory.snapshots] == [0, 2] and memory.snapshots[0].failed_layers == 0


def test_bad_options_raise_in_the_constructor() -> None:
    with pytest.raises(OptionError, match="every: expected checkpoint"):
        AlphaHillTrainerCallback(every="never")  # type: ignore[arg-type]


def test_without_transformers_the_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['transformers'] = None\n"
        "import alpha_callbacks; alpha_callbacks.AlphaHillTrainerCallback"
    )
    done = run_code(code)
    assert 'pip install -c constraints.txt ".[hf]"' in done.stderr.splitlines()[-1]
