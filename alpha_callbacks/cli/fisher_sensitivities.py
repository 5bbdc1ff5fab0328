"""Sensitivities of layers for `recommend --sensitivity fisher`."""

from pathlib import Path

from alpha_callbacks.cli.progress import StepProgress
from alpha_callbacks.errors import OptionError
from alpha_callbacks.evaluation.language_model import load_language_model
from alpha_callbacks.evaluation.sensitivity import LENGTH, WINDOWS, fisher_trace


def fisher_of(model: str, calibration: Path | None, *, hide_progress: bool) -> dict[str, float]:
    """Return the sensitivity of each layer, from one pass over a text.

    Raises:
        OptionError: no text, or no model.
    """
    if calibration is None:
        raise OptionError(
            "calibration: expected a text file for --sensitivity fisher, got none. Give --calibration FILE."
        )
    if not model:
        raise OptionError("model: expected the model that was scanned, got none: no run.json names it. Give --model.")
    loaded = load_language_model(model)
    windows = loaded.windows(calibration, tokens=WINDOWS * LENGTH, context=LENGTH)
    with StepProgress("Sensitivities", hidden=hide_progress) as progress:
        return fisher_trace(loaded.model, windows, on_progress=progress)
