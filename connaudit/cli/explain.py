"""`connaudit explain`: what a finding means, how to prove it, and what to do about it."""

import click

from connaudit.cli import output
from connaudit.cli.helpful import Helpful
from connaudit.errors import UsageError
from connaudit.explaining import contents, page, plain

HELP = """What a finding or a topic is about: what it means, how to prove it, how to fix it now and for good.

NAME is the code of a finding (CA401) or a topic (django); without one, all of them are listed.
"""


def _explain(names: tuple[str, ...]) -> int:
    if len(names) > 1:
        raise UsageError(f"one page at a time, not {len(names)}")
    output.write(plain(page(names[0])) if names else contents(), None)
    return 0


command = Helpful(
    "explain", params=[click.Argument(["names"], nargs=-1, metavar="[NAME]")], callback=_explain, help=HELP
)
