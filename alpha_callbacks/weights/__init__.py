"""Tensors of any source -> 2-D weights with one name each."""
