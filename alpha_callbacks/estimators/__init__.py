"""Eigenvalues -> the exponent of their tail, one file per estimator."""
