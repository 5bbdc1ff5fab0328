"""Two states of the same layers, and the states of a run."""
