"""A model in training -> snapshots, whoever runs the loop."""
