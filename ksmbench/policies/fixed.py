"""Nobody: the settings stay as they are given, but for what the trace itself recorded."""

from ksmbench.policies.policy import Policy

POLICY = Policy(
    name="fixed",
    summary="settings stay as given, but for the changes that the trace recorded",
    source="nothing to cite",
)
