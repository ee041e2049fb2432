"""Synthetic workloads and directed scenarios for the questions of the 2009 review of KSM, and the report about them."""
