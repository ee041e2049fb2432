"""Measures what ksmd's work costs on a live kernel, as a profile for `ksmbench.engine.cost`."""
