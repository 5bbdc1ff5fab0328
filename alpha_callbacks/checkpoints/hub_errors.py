"""What the hub's refusals mean for the user, whoever asked: a download, or a scan by ranges."""

from alpha_callbacks.errors import CheckpointError

TRANSPORT = ("httpx", "httpcore", "requests", "urllib3")  # packages whose errors mean "not reached"

_GATED = (
    "this model is gated. Accept its terms on its page of the hub, then run `hf auth login` (or set HF_TOKEN) and try "
    "again"
)
_NO_REVISION = "expected a branch, tag or commit, found no revision {revision!r}"
_UNKNOWN = "expected {expected}. Check the name; a private model needs `hf auth login`"
_MEANINGS = {  # X-Error-Code, or the status where there is none
    "GatedRepo": _GATED,
    "RevisionNotFound": _NO_REVISION,
    "RepoNotFound": _UNKNOWN,
    "401": _UNKNOWN,
    "404": _UNKNOWN,
}


def refusal(
    code: str,
    model_id: str,
    revision: str | None,
    expected: str = "a path on disk or a model on the hub, found neither",
) -> CheckpointError | None:
    """Return the error for a refusal of the hub, or None where its own words say more.

    Args:
        code: of the header X-Error-Code, or the status as text.
        model_id: "organization/name".
        revision: as the user named it.
        expected: what the name could have been.
    """
    text = _MEANINGS.get(code, "").format(revision=revision, expected=expected)
    return CheckpointError(f"{model_id}: {text}.") if text else None


def code_of(error: Exception) -> str:
    """Return the code that an exception of huggingface_hub stands for, or an empty string."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    kinds = (GatedRepoError, "GatedRepo"), (RevisionNotFoundError, "RevisionNotFound")
    unknown = (RepositoryNotFoundError, "RepoNotFound"), (HFValidationError, "RepoNotFound")  # the first is gated too
    return next((code for kind, code in (*kinds, *unknown) if isinstance(error, kind)), "")


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, or its class."""
    return next(iter(str(error).splitlines()), type(error).__name__)
