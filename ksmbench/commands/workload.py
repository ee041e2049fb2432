"""`ksmbench workload`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ksmbench.commands import shared
from ksmbench.commands.group import InOrder

if TYPE_CHECKING:
    from ksmbench.recipes import Recipe


def _names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    from ksmbench.recipes import recipes

    return [name for name in recipes() if name.startswith(incomplete)]


@click.group(cls=InOrder)
def workload() -> None:
    """Make the traces of workloads anew: real ones, which are recorded here, and synthetic ones, from a seed.

    \b
    Example: ksmbench workload list
             ksmbench workload run synthetic -o mine --set pages=100000 --seed 7
             ksmbench workload run debian-idle-x4 -o idle
    """


def _duration(seconds: int) -> str:
    return f"{seconds} s" if seconds < 120 else f"{(seconds + 59) // 60} min"


def _table(found: "list[Recipe]") -> str:
    rows = [("name", "kind", "takes", "needs", "what it stands for")]
    rows += [(r.name, r.kind, _duration(r.seconds), " ".join(r.needs) or "-", r.title) for r in found]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    return "\n".join("  ".join([*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[4]]) for row in rows)


@workload.command("list")
@shared.as_json
def list_(as_json: bool) -> None:
    """Show every workload: its kind, about how long it takes, what it needs, what it stands for.

    \b
    Example: ksmbench workload list
    """
    import json

    from ksmbench.recipes import recipes

    found = list(recipes().values())
    if not as_json:
        click.echo(_table(found))
        return
    rows = [
        {
            "name": recipe.name,
            "kind": recipe.kind,
            "title": recipe.title,
            "stands_for": recipe.stands_for,
            "seconds": recipe.seconds,
            "needs": list(recipe.needs),
            "settings": recipe.settings,
            "readme": str(recipe.folder / "README.md"),
        }
        for recipe in found
    ]
    click.echo(json.dumps(rows, indent=2))


def _said(output: Path) -> str:
    from ksmbench.trace.store import open_trace

    trace = open_trace(output)
    times = trace.events.time_ns
    seconds = (int(times[-1]) - int(times[0])) / 1e9 if len(times) else 0.0
    what = f"{len(trace.spaces):,} spaces, {len(times):,} events, {len(trace.contents.lcp):,} distinct contents"
    return f"{output}: {what}, {seconds:,.1f} s"


@workload.command("run")
@click.argument("name", metavar="NAME", shell_complete=_names)
@shared.new_trace
@click.option(
    "--set", "given", multiple=True, metavar="KEY=VALUE", help="A setting of the workload; --json lists them."
)
@click.option("--seed", type=click.IntRange(0), help="Of a synthetic one; the same seed makes the same bytes.")
@shared.force_trace
def run(name: str, output: Path, given: tuple[str, ...], seed: int | None, force: bool) -> None:
    """Make the trace of the workload NAME.

    A real one starts its programs or guests, records them and ends them; it keeps KSM to itself while it does so. What
    it stands for and what to expect of it says the README in its folder.

    \b
    Example: ksmbench workload run prefork-server -o served --set duration=30
             ksmbench workload run synthetic -o mine --set pages=100000 --seed 7
    """
    from ksmbench import recipes
    from ksmbench.commands.reshaped import refuse_in_the_way

    recipe = recipes.find(name)
    settings = recipes.parse(recipe, given, seed)
    refuse_in_the_way(output, force)
    tells = recipe.kind == "synthetic" and sys.stderr is not None and sys.stderr.isatty()
    if tells:
        click.echo(f"making {name} (about {_duration(recipe.seconds)})", err=True)
    status = recipes.run(recipe, output, settings, force)
    if status == 0 and recipe.kind == "synthetic":
        click.echo(_said(output))
    sys.exit(status)
