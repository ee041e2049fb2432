"""`ksmbench doctor`."""

import click

from ksmbench.commands import shared


@click.command()
@shared.as_json
def doctor(as_json: bool) -> None:
    """Say what this host lets a capture and a validation do, and how to get what is missing.

    Nothing is changed. Replays, comparisons and reports of a trace need nothing of all this.

    \b
    Example: ksmbench doctor
    """
    import json

    from ksmbench.doctor import document, examine, text

    findings = examine()
    click.echo(json.dumps(document(findings), indent=2) if as_json else text(findings))
