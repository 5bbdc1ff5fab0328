"""Files on disk or on the hub -> tensors, read without running any of their code."""
