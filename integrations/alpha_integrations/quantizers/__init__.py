"""Plans in the words of quantizers, and checkpoints that they load."""
