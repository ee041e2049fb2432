"""Debian guests that are started, used, and ended one after the other, recorded as children of one launcher."""
