"""The manual page, in the roff of man(7): commands and options as the program has them, and the topics of `help`."""

import re
from collections.abc import Iterable, Iterator

import click

from connaudit import __version__
from connaudit.cli.settings import SETTINGS
from connaudit.cli.topics import TOPICS
from connaudit.configuration import SYSTEM

FILES = (
    ("~/.config/connaudit/config.toml", "the user's configuration; XDG_CONFIG_HOME moves it"),
    (SYSTEM, "the system's configuration, read where the user has none"),
)
_BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def manual(tree: click.Group) -> str:
    """Return the whole page."""
    context = click.Context(tree, info_name="connaudit")
    parts = [
        f'.TH CONNAUDIT 1 "" "connaudit {__version__}" "User Commands"',
        *(".nh", ".ad l"),  # no word is broken: many are to be typed
        *_section("NAME", [r"connaudit \- " + escaped((tree.help or "").partition("\n")[0])]),
        *_section("SYNOPSIS", [r".B connaudit", r"[\fIoptions\fR] \fIcommand\fR [\fIoptions\fR] [\fITARGET\fR]..."]),
        *_section("DESCRIPTION", _prose((tree.help or "").partition("\n\n")[2])),
        ".SH COMMANDS",
        *(line for name in tree.list_commands(context) for line in _command(name, tree, context)),
        ".SH OPTIONS",
        "Options that all auditing commands share; they may stand before or after the command.",
        *(line for option in _shared(tree) for line in _option(option, context)),
        *(line for topic in TOPICS for line in _topic(topic)),
        ".SH FILES",
        *(line for path, meaning in FILES for line in (".TP", rf"\fI{escaped(path)}\fR", escaped(meaning))),
    ]
    return "\n".join(parts) + "\n"


def _section(title: str, lines: Iterable[str]) -> list[str]:
    return [f".SH {title}", *lines]


def _shared(tree: click.Group) -> Iterator[click.Option]:
    names = {flag for setting in SETTINGS for flag in setting.flags}
    yield from (each for each in tree.params if isinstance(each, click.Option) and names & set(each.opts))


def _command(name: str, group: click.Group, context: click.Context) -> Iterator[str]:
    """Yield a command with its own options; those of a group follow it."""
    command = group.get_command(context, name) or click.Command(name)
    own = click.Context(command, parent=context, info_name=name)
    usage = "" if isinstance(command, click.Group) else " ".join(command.collect_usage_pieces(own)[1:])
    yield ".SS " + escaped(f"{own.command_path} {usage}".strip())
    yield from _prose(command.help or "")
    shared = {flag for setting in SETTINGS for flag in setting.flags}
    for option in command.params:
        if isinstance(option, click.Option) and not shared & set(option.opts):
            yield from _option(option, own)
    if isinstance(command, click.Group):
        for each in command.list_commands(own):
            yield from _command(each, command, own)


def _option(option: click.Option, context: click.Context) -> Iterator[str]:
    """Yield an option, be it hidden in the help or not."""
    hidden, option.hidden = option.hidden, False
    flags, meaning = option.get_help_record(context) or ("", "")
    option.hidden = hidden
    yield from (".TP", rf"\fB{escaped(flags)}\fR", escaped(meaning))


def _topic(topic: str) -> Iterator[str]:
    """Yield a topic of `help` as a section."""
    heading, _, text = TOPICS[topic]().partition("\n")
    name, _, meaning = heading.lstrip("# ").partition(": ")
    yield f".SH {escaped(name.upper().replace('-', ' '))}"
    yield from _prose(f"{meaning[0].upper()}{meaning[1:]}.\n\n{text}")


def _prose(text: str) -> Iterator[str]:
    """Yield paragraphs, and blocks of code as they are; click's mark for such a block counts, too."""
    place = 0
    for code in _BLOCK.finditer(text):
        yield from _paragraphs(text[place : code.start()])
        yield from _verbatim(code[0].splitlines()[1:-1])
        place = code.end()
    yield from _paragraphs(text[place:])


def _paragraphs(text: str) -> Iterator[str]:
    for part in re.split(r"\n\s*\n", text):
        if part.strip().startswith("\b"):
            yield from _verbatim(part.strip().splitlines()[1:])
        elif part.strip():
            yield from (".PP", emphasised(" ".join(part.split())))


def _verbatim(lines: Iterable[str]) -> Iterator[str]:
    yield from (".PP", ".nf", ".RS 4", *(escaped(line) or r"\&" for line in lines), ".RE", ".fi")


def emphasised(text: str) -> str:
    r"""Return a paragraph in roff: `words` and **words** are bold.

    >>> print(emphasised("`-w` takes **one**"))
    \fB\-w\fR takes \fBone\fR
    """
    parts = re.split(r"`([^`]+)`|\*\*([^*]+)\*\*", text)
    plain, quoted, strong = parts[::3], parts[1::3], parts[2::3]
    said = [escaped(plain[0])]
    for code, bold, rest in zip(quoted, strong, plain[1:], strict=True):
        said.append(rf"\fB{escaped(code or bold)}\fR{escaped(rest, begins=False)}")
    return "".join(said)


def escaped(text: str, *, begins: bool = True) -> str:
    r"""Return text in which roff finds no command, and no hyphen where a minus sign is meant.

    >>> print(escaped(r".TH -w C:\x"))
    \&.TH \-w C:\ex
    """
    safe = text.replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{safe}" if begins and safe.startswith((".", "'")) else safe
