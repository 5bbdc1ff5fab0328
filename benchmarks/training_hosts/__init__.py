"""One small training run in each framework, with and without the callback: what benchmarks/hosts.py compares."""
