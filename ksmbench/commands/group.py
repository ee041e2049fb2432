"""Groups of commands."""

import click


class InOrder(click.Group):
    """Lists its commands in the order in which they came, that of the data, each with its whole first sentence."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in that order."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list into the help; click itself cuts a sentence off where the line ends."""
        told = ((name, " ".join((command.help or "").split())) for name, command in self.commands.items())
        with formatter.section("Commands"):
            formatter.write_dl([(name, text.partition(". ")[0].rstrip(".") + ".") for name, text in told])
