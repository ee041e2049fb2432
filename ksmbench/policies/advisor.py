"""The kernel's own advisor, scan-time, which sets pages_to_scan after every full scan (Linux 6.8 and later).

It is a part of the design, so nothing acts from outside: the policy turns it on before the first batch.
"""

from ksmbench.policies.policy import Policy

POLICY = Policy(
    name="advisor",
    summary="the kernel's scan-time advisor (advisor_mode=1) sets pages_to_scan after every full scan",
    source="Linux, Documentation/admin-guide/mm/ksm.rst, advisor_mode",
    turns=("pages_to_scan", "advisor_mode"),
    begins={"advisor_mode": 1},
)
