"""`ksmbench designs`."""

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ksmbench.designs.design import Design


@click.command()
@click.option("--diff", nargs=2, metavar="DESIGN DESIGN", help="What two releases of Linux decide differently.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def designs(diff: tuple[str, str] | None, as_json: bool) -> None:
    """List every design: what it is, its settings with their defaults, its source.

    Any release of Linux from 2.6.33 on is a design, ksm-X.Y or, with an update, ksm-X.Y.Z; listed are those that decide
    something differently from the next older one.

    Example: ksmbench designs --diff ksm-6.1 ksm-6.18
    """
    import json

    from ksmbench.designs import DESIGNS, differences

    if diff is not None:
        sentences = differences(*diff)
        if as_json:
            click.echo(json.dumps(sentences, indent=2))
        elif sentences:
            click.echo("\n".join(f"- {sentence}" for sentence in sentences))
        else:
            click.echo(f"{diff[0]} and {diff[1]} decide everything alike")
        return
    if as_json:
        rows = [
            {
                "name": design.name,
                "summary": design.summary,
                "source": design.source,
                "settings": {
                    setting.name: {
                        "default": setting.default,
                        "minimum": setting.minimum,
                        "maximum": setting.maximum,
                        "meaning": setting.meaning,
                    }
                    for setting in design.settings
                },
                "counters": list(design.counters),
            }
            for design in DESIGNS.values()
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    shown: Design | None = None  # whose settings the next one may have too
    for design in DESIGNS.values():
        click.secho(design.name, bold=True, nl=False)
        click.echo(f"  {design.summary}\n  source: {design.source}")
        if shown is not None and design.settings == shown.settings and design.settings:
            click.echo(f"    settings as {shown.name}\n")
            continue
        shown = design
        for setting in design.settings:
            click.echo(f"    {setting.name + '=' + str(setting.default):<42} {setting.meaning}")
        click.echo()
