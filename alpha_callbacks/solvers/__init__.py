"""A matrix in blocks -> its eigenvalues, its norm, and what a change of its entries can do to them."""
