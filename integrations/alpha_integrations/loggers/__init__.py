"""Snapshots to the loggers of a training run."""
