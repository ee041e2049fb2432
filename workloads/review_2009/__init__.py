"""Synthetic workloads and directed scenarios for the questions of the 2009 review of KSM, and the report about them."""

REPORT = "reports/2009-madvise-review"
QUESTIONS = ("lists", "delay", "fork", "mremap", "munmap", "beyond", "quota", "stop", "unmodified", "wrprotect")
