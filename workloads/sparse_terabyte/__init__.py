"""A mapping of a terabyte with one page in it, beside two ordinary processes."""
