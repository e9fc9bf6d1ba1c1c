"""Commands whose help leaves the process by the same door as reports."""

import click


class Helpful(click.Command):
    """A command whose help is written as its report is: to a full disk, that is one line and exit 3."""

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """Return --help; click's own would end with 1, as a WARNING does, when its reader has gone."""
        option = super().get_help_option(ctx)
        if option:
            option.callback = _show_help
        return option


def _show_help(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from connaudit.cli import output

        output.write(context.get_help() + "\n", None)
        context.exit()
