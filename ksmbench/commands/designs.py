"""`ksmbench designs`."""

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def designs(as_json: bool) -> None:
    """List every design: what it is, its settings with their defaults, its source.

    Example: ksmbench designs --json
    """
    import json

    from ksmbench.designs import DESIGNS

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
    for design in DESIGNS.values():
        click.secho(design.name, bold=True, nl=False)
        click.echo(f"  {design.summary}\n  source: {design.source}")
        for setting in design.settings:
            click.echo(f"    {setting.name + '=' + str(setting.default):<42} {setting.meaning}")
        click.echo()
