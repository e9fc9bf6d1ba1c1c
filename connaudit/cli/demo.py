"""`connaudit demo`: what it is called with; the rest is loaded when it is called."""

import click

from connaudit.cli.helpful import Helpful


@click.command("demo", cls=Helpful)
@click.option("--keep", is_flag=True, help="leave server and clients running to play with, until Ctrl-C")
def command(keep: bool) -> int:
    """Try connaudit on a throwaway server with good and bad clients.

    A PostgreSQL is started in a temporary directory, a little shop connects to it, and the commands are run as you
    would type them. Nothing is left of it at the end. It needs the extra: pip install "connaudit[demo]".
    """
    from connaudit.cli.showing import demonstrate

    return int(demonstrate(keep=keep))
