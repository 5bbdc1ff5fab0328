"""What is said in the log about a state that was measured."""

from alpha_callbacks.sinks.alert import alert_lines
from alpha_callbacks.sinks.snapshot import Snapshot
from alpha_callbacks.tables.table import Row
from alpha_callbacks.training.error_policy import ErrorPolicy
from alpha_callbacks.utils.own_logger import own_logger

_log = own_logger(__name__)


def failure(snapshot: Snapshot) -> str:
    """Return what went wrong with the first layer whose analysis failed, "" if none did."""
    failed = next((row for row in snapshot.table if row.status == "failed"), None)
    return f"{failed.layer_name}: {failed.reason}" if failed else ""


def warn_of(snapshot: Snapshot, errors: ErrorPolicy) -> None:
    """Warn of failed layers, of layers without alpha, of unreadable ones, and of what the rules newly found."""
    if problem := failure(snapshot):
        errors.warn(problem, once=problem)
    lost = next((row for row in snapshot.table if row.status in ("non_finite", "degenerate")), None)
    if lost is not None and not _told(lost, snapshot):
        text = f"step {snapshot.step}: no alpha of {lost.layer_name} ({lost.reason})"
        errors.warn(text, once=lost.layer_name)
    closed = [row for row in snapshot.table.main if row.status == "unsupported"]
    if closed:
        layers, first = len({row.layer_name for row in closed}), closed[0]
        errors.warn(
            f"{layers} of {len(snapshot.table.main)} layers cannot be read: {first.layer_name} ({first.reason}); "
            f"the means are those of {snapshot.analysed_layers} (analysed_layers)",
            once="unsupported",
        )
    for line in alert_lines(snapshot.alerts or ()):
        _log.warning("alpha-Hill: step %d: %s", snapshot.step, line.text)


def _told(lost: Row, snapshot: Snapshot) -> bool:
    return any((a.rule, a.layer_name) == (lost.status, lost.layer_name) for a in snapshot.alerts or ())
