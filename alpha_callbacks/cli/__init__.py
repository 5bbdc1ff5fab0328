"""The command alpha-hill."""
