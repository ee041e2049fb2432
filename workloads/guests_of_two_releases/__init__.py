"""Debian guests of two releases, each with its own kernel, on one host."""
