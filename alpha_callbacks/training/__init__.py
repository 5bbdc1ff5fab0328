"""A model in training -> snapshots, whatever runs the loop."""
