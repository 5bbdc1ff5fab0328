"""The options that the callbacks of all training frameworks share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from alpha_callbacks.errors import OptionError
from alpha_callbacks.estimators.hill import Threshold
from alpha_callbacks.options import Adapters, AnalysisOptions, pick_device
from alpha_callbacks.solvers.solver import Solver
from alpha_callbacks.training.alert_rules import AlertRule
from alpha_callbacks.training.baseline import START
from alpha_callbacks.training.monitor import REUSE_GB, Monitor
from alpha_callbacks.training.schedule import Every, Schedule


class CallbackOptions:
    """The options of a callback, checked, and the monitor made from them. Nothing here changes during a run.

    Args:
        every: "checkpoint", "epoch", "train_end", or a number of optimizer steps.
        precisions: names from the registry.
        include: regular expression; only layers whose names it matches are analysed.
        exclude: regular expression; layers whose names it matches are left out.
        include_embeddings: also analyse embedding tables.
        adapters: under PEFT "auto": what moves, "base": the weights without adapters, "merged": with them.
        k_frac: share of the eigenvalues that form the tail.
        k_min: smallest tail size.
        threshold: "next" or "last", see docs/definitions.md.
        estimators: fits of the tail beside Hill's: any of "csn", "tpl", "half", "quantile_k", "farms".
        measures: groups of further measures: any of "norms", "bulk", "entries", "spacings", "traps".
        solver: "exact" or "fast".
        reuse_tol: how far a value that is shared or proved may be from that of a decomposition, as a share of alpha.
        device: where to compute; "cpu" uses none of the accelerator's memory.
        weights: "module": every state of the model, checkpoints as they were saved; "checkpoint": read files only.
        output_dir: folder for CSV files; default `alpha_hill` in the log folder of the trainer.
        sinks: "auto": CSV and every logger of the trainer; or others, see `Monitor`.
        per_layer_scalars: log a scalar per layer and precision.
        images: log charts: of the first, the last and every tenth state, or of every n-th if a number is given.
        background: analyse a copy on the CPU while training continues.
        max_seconds: time budget of one measurement, in seconds.
        threads: number of CPU threads.
        reuse_gb: memory for what spares decompositions of layers that have moved little, see `Monitor`.
        alerts: rules that warn, and may stop the run, see `Monitor`.
        baseline: "start", a path or a model id: also analyse the updates W - W0, see `Monitor`.
        sensitivities: when training ends, write what an optimizer of Adam's kind knows of each layer's gradients to
            sensitivities.csv, for `recommend --sensitivities`.
        on_error: "warn" or "raise".

    Attributes:
        schedule: when to measure.
        monitor: does the work; `monitor.last` is the newest snapshot.
        output_dir: the folder that the user named, or None.
        reads_checkpoints: True with weights="checkpoint".
        keeps_sensitivities: True with sensitivities=True.

    Raises:
        OptionError: an option that cannot be used.
    """

    def __init__(
        self,
        *,
        every: Every = "checkpoint",
        precisions: str | Sequence[str] = ("fp32", "fp16", "bf16"),
        include: str | None = None,
        exclude: str | None = None,
        include_embeddings: bool = False,
        adapters: Adapters = "auto",
        k_frac: float = 0.1,
        k_min: int = 10,
        threshold: Threshold = "next",
        estimators: str | Sequence[str] = ("hill",),
        measures: str | Sequence[str] = (),
        solver: Solver = "exact",
        reuse_tol: float = 1e-5,
        device: str = "cpu",
        weights: Literal["module", "checkpoint"] = "module",
        output_dir: str | Path | None = None,
        sinks: Any = "auto",
        per_layer_scalars: bool = True,
        images: bool | int = True,
        background: bool = False,
        max_seconds: float | None = None,
        threads: int | None = None,
        reuse_gb: float = REUSE_GB,
        alerts: str | AlertRule | Sequence[str | AlertRule] | None = None,
        baseline: str | Path | None = None,
        sensitivities: bool = False,
        on_error: Literal["warn", "raise"] = "warn",
    ) -> None:
        self.schedule = Schedule(every)
        if weights not in ("module", "checkpoint"):
            raise OptionError(f"weights: expected module or checkpoint, got {weights!r}.")
        if not isinstance(sensitivities, bool):
            raise OptionError(f"sensitivities: expected True or False, got {sensitivities!r}.")
        if weights == "checkpoint" and every != "checkpoint":
            raise OptionError(f'weights: "checkpoint" needs every="checkpoint", got every={every!r}.')
        if weights == "checkpoint" and adapters == "merged":
            raise OptionError('adapters: "merged" needs weights="module": a checkpoint holds base and adapter apart.')
        if weights == "checkpoint" and baseline == START:
            raise OptionError('baseline: "start" needs weights="module": no checkpoint holds the start. Name a path.')
        options = AnalysisOptions(
            precisions=tuple(precisions.split(",") if isinstance(precisions, str) else precisions),
            include=include,
            exclude=exclude,
            include_embeddings=include_embeddings,
            adapters=adapters,
            k_frac=k_frac,
            k_min=k_min,
            threshold=threshold,
            estimators=tuple(estimators.split(",") if isinstance(estimators, str) else estimators),
            measures=tuple(measures.split(",") if isinstance(measures, str) else measures),
            solver=solver,
            reuse_tol=reuse_tol,
            device=pick_device(device),
        )
        self.monitor = Monitor(
            options,
            output_dir="alpha_hill" if output_dir is None else output_dir,
            sinks=sinks,
            per_layer_scalars=per_layer_scalars,
            images=images,
            background=background,
            max_seconds=max_seconds,
            threads=threads,
            reuse_gb=reuse_gb,
            alerts=alerts,
            baseline=baseline,
            on_error=on_error,
        )
        self.output_dir = None if output_dir is None else Path(output_dir)
        self.reads_checkpoints = weights == "checkpoint"
        self.keeps_sensitivities = sensitivities
