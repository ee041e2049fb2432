"""Scenarios whose counters follow from a formula, which stands beside them: LTP's and the kernel selftests'."""
