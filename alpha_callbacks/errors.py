"""Every exception that this package raises on purpose."""

from alpha_callbacks.foreign_text import visible


class AlphaCallbacksError(Exception):
    """Base of all errors of alpha_callbacks; its text says where, what was expected, what came, and what to do."""

    def __str__(self) -> str:
        """Return the text as one line: names in it may come from anywhere."""
        return visible(super().__str__())


class OptionError(AlphaCallbacksError, ValueError):
    """An option has a value that cannot be used."""


class SpectrumError(AlphaCallbacksError, ValueError):
    """A spectrum, or the matrix that it should come from, does not have the required form."""


class SolverError(AlphaCallbacksError):
    """No solver returned eigenvalues that pass the checks (sum, range, order)."""


class CheckpointError(AlphaCallbacksError):
    """A checkpoint is missing, damaged, or of a kind that cannot be read safely."""


class SourceError(CheckpointError):
    """The source of the weights is lost, or no longer the same, while it is read: no further layer can come."""


class JournalError(AlphaCallbacksError):
    """A journal of finished layers does not belong to this run, or does not cover it."""


class PeerError(AlphaCallbacksError):
    """Another rank of a distributed run failed, or did not come."""


class MonitorError(AlphaCallbacksError):
    """A model in training cannot be watched as asked."""


class ResultsError(AlphaCallbacksError):
    """Results of a scan or of a run cannot be read, or cannot be compared."""


class PlanError(AlphaCallbacksError):
    """A quantization plan cannot be made, read, held by a target, or applied to a model."""


class MissingExtraError(AlphaCallbacksError, ImportError):
    """An optional package is needed; the text names the extra that brings it."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(
            f"{what} needs an optional package. In the folder of alpha_callbacks' sources run: "
            f'pip install -c constraints.txt ".[{extra}]"'
        )
        self.extra = extra
