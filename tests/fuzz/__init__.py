"""Attacks on everything that reads a file: mutations of a corpus, malformed files, kills."""
