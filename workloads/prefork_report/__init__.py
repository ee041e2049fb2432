"""The report about smart scan and the advisor on a pre-forking service: do replays show what was published?"""

REPORT = "reports/prefork-smart-scan-advisor"
COMMAND = "make prefork-report"
