"""Rows: the record, its statistics, and the files of a results folder."""
