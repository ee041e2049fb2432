"""`ksmbench designs`."""

from typing import TYPE_CHECKING

import click

from ksmbench.commands import shared

if TYPE_CHECKING:
    from ksmbench.designs.design import Design, Setting


def _about(setting: "Setting") -> dict[str, object]:
    if setting.choices:
        takes = {"choices": list(setting.choices), "many": setting.many}
    else:
        takes = {"minimum": setting.minimum, "maximum": setting.maximum}
    return {"default": setting.default, **takes, "meaning": setting.meaning}


def _line(setting: "Setting") -> str:
    shown = f"    {f'{setting.name}={setting.default}':<42} {setting.meaning}"
    if setting.choices:
        shown += f" ({'any of ' if setting.many else ''}{', '.join(setting.choices)})"
    return shown


def _show(design: "Design", above: "Design | None") -> None:
    # `above`: the one whose settings were shown last.
    click.secho(design.name, bold=True, nl=False)
    click.echo(f"  {design.summary}\n  source: {design.source}")
    if above is not None and design.settings == above.settings and design.settings:
        click.echo(f"    settings as {above.name}\n")
        return
    for setting in design.settings:
        click.echo(_line(setting))
    click.echo()


@click.command()
@click.option("--diff", nargs=2, metavar="DESIGN DESIGN", help="What two releases of Linux decide differently.")
@shared.as_json
def designs(diff: tuple[str, str] | None, as_json: bool) -> None:
    """List every design: what it is, its settings with their defaults, its source.

    Any release of Linux from 2.6.33 on is a design, ksm-X.Y or, with an update, ksm-X.Y.Z; listed are those that decide
    something differently from the next older one.

    \b
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
                "family": design.family,
                "settings": {setting.name: _about(setting) for setting in design.settings},
                "counters": list(design.counters),
            }
            for design in DESIGNS.values()
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    for family in dict.fromkeys(design.family for design in DESIGNS.values()):
        click.secho(f"{family}\n", underline=True)
        above: Design | None = None
        for design in DESIGNS.values():
            if design.family == family:
                _show(design, above)
                if above is None or design.settings != above.settings:
                    above = design
