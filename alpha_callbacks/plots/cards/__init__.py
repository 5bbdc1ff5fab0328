"""Charts for the cards of a logger."""
