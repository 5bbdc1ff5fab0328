"""What a plan does to a language model, and what its loss depends on."""
