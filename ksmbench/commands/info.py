"""`ksmbench info`."""

from pathlib import Path

import click


@click.command()
@click.argument("trace", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def info(trace: Path, as_json: bool) -> None:
    """Say what is in TRACE, after checking every rule of the format.

    Example: ksmbench info traces/debian-idle-x4
    """
    import json

    from ksmbench.trace.describe import describe
    from ksmbench.trace.store import open_trace

    facts = describe(open_trace(trace))
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        text = ", ".join(f"{k} {v:,}" for k, v in value.items()) if isinstance(value, dict) else value
        click.echo(f"{name:<{width}}  {text}")
