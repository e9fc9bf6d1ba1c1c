"""`connaudit help`: topics, commands, and the manual page made from both."""

import difflib

import click

from connaudit.cli import output
from connaudit.cli.helpful import Helpful
from connaudit.cli.topics import TOPICS, title
from connaudit.errors import UsageError
from connaudit.explaining import plain

HELP = f"""What TOPIC is about: {", ".join(TOPICS)}; or the help of a command.

Without TOPIC, all of them are listed. --man writes the manual page: `connaudit help --man | man -l -`.
"""


@click.pass_context
def _help(context: click.Context, /, words: tuple[str, ...], man: bool) -> int:
    if man:
        from connaudit.cli.commands import tree
        from connaudit.cli.manual import manual

        text = manual(tree())
    elif not words:
        width = max(map(len, TOPICS))
        text = "".join(f"{topic:<{width}}  {title(topic)}\n" for topic in TOPICS)
    elif len(words) == 1 and words[0] in TOPICS:
        text = plain(TOPICS[words[0]]())
    else:
        text = of_command(context.find_root(), words)
    output.write(text, None)
    return 0


def of_command(context: click.Context, words: tuple[str, ...]) -> str:
    """Return the help of a command, or of one of its own."""
    for place, word in enumerate(words):
        group = context.command
        found = group.get_command(context, word) if isinstance(group, click.Group) else None
        if found is None:
            near = difflib.get_close_matches(" ".join(words), [*TOPICS, *_commands(context)], 1)
            guess = f"did you mean {near[0]}?" if near else f"there are {', '.join(TOPICS)}"
            raise UsageError(f"there is no help on {' '.join(words[: place + 1])!r}", hint=guess)
        context = click.Context(found, parent=context, info_name=word)
    return context.get_help() + "\n"


def _commands(context: click.Context) -> list[str]:
    group = context.command
    return group.list_commands(context) if isinstance(group, click.Group) else []


command = Helpful(
    "help",
    params=[
        click.Argument(["words"], nargs=-1, metavar="[TOPIC]"),
        click.Option(["--man"], is_flag=True, help="write the manual page, in roff"),
    ],
    callback=_help,
    help=HELP,
)
