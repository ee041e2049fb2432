"""The errors that reach a user: each is one sentence, and carries the exit status the command ends with."""


class KsmbenchError(Exception):
    """The run failed or found a disagreement (exit status 1)."""

    exit_code = 1


class UsageError(KsmbenchError):
    """What was asked for cannot be meant: an unknown design, setting or value (exit status 2)."""

    exit_code = 2


class TraceError(KsmbenchError):
    """A trace breaks a rule of the format (exit status 2); the text names file, row, rule and remedy."""

    exit_code = 2
