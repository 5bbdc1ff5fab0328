"""Names that an adversary chose, in everything that is written of them."""
