"""Where the states of a training run go."""
