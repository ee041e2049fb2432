"""Traces out of memory dumps that other tools made; one module per format."""
