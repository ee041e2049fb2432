"""The traces that are shipped: their manifest, their checksums, and the table of their key figures.

python -m workloads.shipped                 # the tables of traces/README.md, from the traces
python -m workloads.shipped write           # into the README, with traces/MANIFEST.toml
python -m workloads.shipped add TRACE…      # copy recordings into traces/, and write the same
"""

import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from ksmbench.recipes import recipes, root
from ksmbench.trace.columns import Trace
from ksmbench.trace.describe import describe
from ksmbench.trace.schema import Kind
from ksmbench.trace.store import open_trace, write_trace

FOLDER = root() / "traces"
README, MANIFEST = FOLDER / "README.md", FOLDER / "MANIFEST.toml"
LICENCE = "CC0-1.0"
MAX_BYTES, MAX_BYTES_ALL = 8 << 20, 48 << 20
_PUBLIC = ("/usr/", "/etc/", "/lib/", "/dev/")  # files whose names say nothing about whose machine it was
_VERBS = ("fork", "exec", "exit", "prctl", "move", "madvise", "unmap", "touch", "share")
_BEGIN, _END = "<!-- python -m workloads.shipped -->", "<!-- end -->"


def names() -> list[str]:
    """The shipped traces: first those of guests."""
    found = sorted(path.parent.name for path in FOLDER.glob("*/trace.json"))
    return sorted(found, key=lambda name: "qemu" not in recipes()[name].needs)


def facts(name: str) -> dict[str, Any]:
    """What `ksmbench info --json` says, and pages seen changed per second."""
    trace = open_trace(FOLDER / name)
    found = describe(trace)
    later = trace.events.time_ns > 0
    written = later & np.isin(trace.events.kind, (Kind.WRITE, Kind.TOUCH))
    found["changed_per_s"] = int(trace.events.n_pages[written].sum()) / found["seconds"]
    return found


def _mib(pages: int) -> str:
    return f"{pages / 256:,.0f}"


def _row(name: str, found: dict[str, Any]) -> list[str]:
    end, capture = found["memory"]["end"], found["capture"]
    equal = end["duplicates_within"] + end["duplicates_across"]
    others = end["pages"] - end["zero_pages"]
    looks = capture["looks"] + capture["looks_left_out"]
    return [
        f"`{name}`",
        f"{found['seconds']:.0f}",
        f"{capture['interval_ns'] / 1e9:g}",
        f"{capture['looks_left_out']} of {looks}",
        f"{len(found['spaces']):,}",
        _mib(end["pages"]),
        _mib(end["frames"]),
        _mib(end["zero_pages"]),
        f"{100 * equal / others:.0f} %" if others else "–",
        _mib(end["oracle_saved_pages"]),
        f"{found['contents']['distinct']:,}",
        f"{found['events']:,}",
        f"{found['changed_per_s']:,.0f}",
        f"{sum(found['file_bytes'].values()) / 1e6:.1f}",
    ]


_HEAD = (
    "trace",
    "seconds",
    "a look each s",
    "left out",
    "spaces",
    "memory, MiB",
    "frames, MiB",
    "zero-filled, MiB",
    "of the rest equal to another page",
    "an oracle would save, MiB",
    "distinct contents",
    "events",
    "pages changed per s",
    "MB of files",
)


def _markdown(head: tuple[str, ...], rows: list[list[str]]) -> list[str]:
    lines = [head, tuple("---" if i == 0 else "---:" for i in range(len(head))), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def tables() -> str:
    """The tables in Markdown: figures of every trace, and how often each verb that is not a write occurs."""
    found = {name: facts(name) for name in names()}
    verbs = [
        [f"`{name}`", *(f"{told['events_by_verb'].get(verb, 0):,}" for verb in _VERBS)] for name, told in found.items()
    ]
    first = _markdown(_HEAD, [_row(name, told) for name, told in found.items()])
    second = _markdown(("events", *(f"`{verb}`" for verb in _VERBS)), verbs)
    return "\n".join([*first, "", *second])


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def manifest() -> str:
    """The text of MANIFEST.toml: what each trace is, how and when it was made, and the checksums of its files."""
    lines = ["# Made by `python -m workloads.shipped write`; a test compares.", f'licence = "{LICENCE}"']
    for name in names():
        told = json.loads((FOLDER / name / "trace.json").read_text())
        recipe = recipes()[name]
        lines += [
            "",
            f"[{name}]",
            f"what = {json.dumps(recipe.title)}",
            f"stands_for = {json.dumps(recipe.stands_for)}",
        ]
        lines += [f"how = {json.dumps(told['capture']['recipe'])}", f"when = {told['created']}"]
        lines += [f"kernel = {json.dumps(told['host']['kernel'])}", "", f"[{name}.sha256]"]
        lines += [f'"{file.name}" = "{_digest(file)}"' for file in sorted((FOLDER / name).iterdir())]
    return "\n".join(lines) + "\n"


def shown() -> str:
    """The tables as they stand in the README."""
    return README.read_text().partition(_BEGIN)[2].partition(_END)[0].strip()


def _without_whose(trace: Trace) -> Trace:
    # Names of files outside of a distribution's folders say where somebody keeps them: their last part remains.
    def short(name: str) -> str:
        return name if not name.startswith("/") or name.startswith(_PUBLIC) else name.rpartition("/")[2]

    return replace(trace, names=tuple(short(name) for name in trace.names))


def _without_place(manifest: dict[str, Any]) -> dict[str, Any]:
    # The same for the command and the recipe.
    text = json.dumps(manifest)
    return dict(json.loads(re.sub(r"(?<![\w.])/(?!usr/|etc/|proc/|dev/|sys/)(?:[\w.+-]+/)+(?=[\w.+-])", "", text)))


@click.group(invoke_without_command=True)
@click.pass_context
def main(context: click.Context) -> None:
    """Print the tables of traces/README.md, from the traces."""
    if context.invoked_subcommand is None:
        click.echo(tables())


@main.command()
def write() -> None:
    """Bring traces/README.md and traces/MANIFEST.toml up to date."""
    before, _, rest = README.read_text().partition(_BEGIN)
    README.write_text(f"{before}{_BEGIN}\n{tables()}\n{_END}{rest.partition(_END)[2]}")
    MANIFEST.write_text(manifest())


@main.command()
@click.argument("traces", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.pass_context
def add(context: click.Context, traces: tuple[Path, ...]) -> None:
    """Copy recordings into traces/ under their names, without the names of places on this machine."""
    for path in traces:
        if path.name not in recipes():
            raise click.UsageError(f"{path.name} is no workload; a shipped trace has the name of one")
        trace = _without_whose(open_trace(path))
        shutil.rmtree(FOLDER / path.name, ignore_errors=True)
        write_trace(replace(trace, manifest=_without_place(trace.manifest)), FOLDER / path.name, level=19)
    context.invoke(write)


if __name__ == "__main__":
    main()
