"""The tree of commands; each is imported when it is called."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from connaudit import __version__
from connaudit.cli.helpful import Helpful

ALONE = (["-h"], ["--help"], ["-V"], ["--version"])
# Commands that are no diagnostics: name -> module and attribute.
OTHERS = {
    "check": "connaudit.cli.check:command",
    "inspect": "connaudit.cli.inspect:command",
    "watch": "connaudit.cli.watch:command",
    "record": "connaudit.cli.record:command",
    "history": "connaudit.cli.history:command",
    "doctor": "connaudit.cli.doctor:command",
    "config": "connaudit.cli.config:command",
    "targets": "connaudit.cli.targets:command",
    "explain": "connaudit.cli.explain:command",
    "schema": "connaudit.cli.schema:command",
    "completion": "connaudit.cli.completion:command",
    "help": "connaudit.cli.help:command",
    "demo": "connaudit.cli.demo:command",
}
# Diagnostics whose commands can do more than ask them once.
MORE = {"leaks": "connaudit.cli.leaks:command"}
# What each is for. The list of commands is written from here: to import them all takes longer than most of them run.
SUMMARIES = {
    "count": "Connections in use against the limit, and who holds them.",
    "idle-tx": "Sessions idle in transaction, and whom they hold up.",
    "long-queries": "Statements that have been running for long, oldest first.",
    "blocking": "Who blocks whom: each wait for a lock, below its root.",
    "leaks": "Connections that nobody seems to use any more.",
    "check": "All checks on all chosen targets: for cron and monitoring.",
    "inspect": "Everything about one session, its process and code.",
    "watch": "Any of the above again and again, over kept connections.",
    "record": "Store one look at all targets in the history.",
    "history": "What was recorded: show, plot, prune, export, path.",
    "doctor": "What an audit needs, what invites leaks, what cron lacks.",
    "config": "Where the configuration lies, what holds, what is wrong.",
    "targets": "Which targets there are, and whether they can be audited.",
    "explain": "What a finding or a topic is about, and how to fix it.",
    "schema": "The JSON Schema of what a command writes with --json.",
    "completion": "What makes a shell complete commands and options.",
    "help": "Exit codes, thresholds, variables, targets, cron.",
    "demo": "Try connaudit on a throwaway server.",
}


class Several(Helpful, click.Group):
    """A group of commands; what is none of them is refused with the nearest one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which they were written."""
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse a call that does not say which command."""
        if not args and not ctx.resilient_parsing:  # a shell that completes asks so, too
            ctx.fail(f"Which one? {ctx.command_path} {'|'.join(self.list_commands(ctx))}")
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest command where there is none of that name."""
        name = args[0]
        if name not in self.list_commands(ctx) and not name.startswith("-") and not ctx.resilient_parsing:
            import difflib

            near = difflib.get_close_matches(name, self.list_commands(ctx), 1)
            ctx.fail(f"No such command {name!r}." + (f" Did you mean {near[0]!r}?" if near else ""))
        return super().resolve_command(ctx, args)


class Commands(Several):
    """The group that knows all commands by name and imports them one by one."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Spell out the one option whose value may be left away: click would take the next word for it."""
        bare = "--changes-only"
        end = args.index("--") if "--" in args else len(args)
        spelt = [f"{bare}=yes" if word == bare else word for word in args[:end]]
        return super().parse_args(ctx, spelt + args[end:])

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the help."""
        return list(SUMMARIES)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what each command is for."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, SUMMARIES[name]) for name in self.list_commands(ctx)])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of exactly that name."""
        if cmd_name in OTHERS | MORE:
            module, attribute = (OTHERS | MORE)[cmd_name].split(":")
            found: click.Command = getattr(import_module(module), attribute)
            return found
        if cmd_name in SUMMARIES:
            from connaudit.cli.auditing import command

            return command(cmd_name)
        return None


def tree(arguments: Sequence[str] = ()) -> click.Group:
    """Return the whole tree; for arguments that ask no command anything, without the options that commands share."""

    @click.pass_context
    def callback(context: click.Context, /, **flags: Any) -> None:
        context.meta["connaudit.flags"] = {key.replace("_", "-"): value for key, value in flags.items()}

    return Commands(
        "connaudit",
        params=[
            click.Option(
                ["-V", "--version"],
                is_flag=True,
                expose_value=False,
                is_eager=True,
                callback=_version,
                help="Show the version and leave.",
            ),
            *([] if arguments in ALONE else _shared()),
        ],
        callback=callback,
        help="Who holds this database's connections, why, and what should be changed?\n\n"
        "TARGET is a URL, a connection string, env:NAME or file:PATH; without one, DATABASE_URL and the variables of "
        "the native clients are asked. Options may stand before or after the command: `connaudit count --help`.",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
        no_args_is_help=False,
        invoke_without_command=False,
    )


def _shared() -> list[click.Option]:
    """Return the options that every command shows in its own help."""
    from connaudit.cli.flags import click_option
    from connaudit.cli.settings import SETTINGS

    options = [click_option(setting) for setting in SETTINGS]
    for option in options:
        option.hidden = True
    return options


def _version(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        from connaudit.cli import output

        output.write(f"connaudit {__version__}\n", None)
        context.exit()
