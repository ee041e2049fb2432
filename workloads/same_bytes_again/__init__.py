"""Writes of the bytes that are there already."""
