"""Small helpers that know nothing of weights or tables."""
