"""Options that several commands have: each stands here once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from ksmbench.commands.options import POLICY_NAMES, complete_policies

Command = TypeVar("Command", bound=Callable[..., Any])

# What is written, and how it is printed.
new_trace = click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The trace to make.")
force_trace = click.option("--force", is_flag=True, help="Replace an existing trace.")
force_report = click.option("--force", is_flag=True, help="Replace an older report.")
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
max_memory_of_trace = click.option(
    "--max-memory", default="8G", show_default=True, help="Refuse a trace that needs more."
)

# How a trace is replayed.
sample = click.option(
    "--sample", default="1.0", show_default=True, help='Seconds of trace time between samples, "batch" or "end".'
)
cost = click.option(
    "--cost", default="default", show_default=True, help='What scanning costs: "none", a profile or its file.'
)
until = click.option("--until", type=float, help="Seconds of trace time at which to end [default: the last event].")
mergeable = click.option(
    "--mergeable", default="as-is", show_default=True, help='"as-is", "all" or a pattern of space names.'
)
ignore_tune = click.option(
    "--ignore-tune", is_flag=True, help="Leave out all changes of settings that the trace recorded."
)
host_memory = click.option(
    "--host-memory", metavar="SIZE", help="Memory of the host that a policy sees [default: as the trace's host]."
)
max_memory = click.option("--max-memory", default="8G", show_default=True, help="Refuse a replay that needs more.")

# Who turns the settings, one or several.
POLICIES = f"Who turns the settings during a replay: {', '.join(POLICY_NAMES[:-1])} or {POLICY_NAMES[-1]}"


def policies(several: str) -> Callable[[Command], Command]:
    """`--policy`, given more than once; `several` says what that does."""
    return click.option(
        "--policy",
        "policies",
        multiple=True,
        metavar="NAME",
        shell_complete=complete_policies,
        help=f"{POLICIES}; give several{several}.",
    )


# With what it is computed.
jobs = click.option("--jobs", type=click.IntRange(min=1), help="Replays at the same time [default: one per core].")
dask = click.option(
    "--dask", metavar="ADDRESS", help="Replay on the cluster of this Dask scheduler, as tcp://host:8786."
)
