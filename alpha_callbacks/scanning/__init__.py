"""A checkpoint -> a results folder."""
