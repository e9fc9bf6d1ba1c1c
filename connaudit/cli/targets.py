"""`connaudit targets`: which targets there are, what holds for each, and whether it can be audited."""

import fnmatch
from collections.abc import Iterator
from typing import Any

import click

from connaudit.cli import output
from connaudit.cli.auditing import error_text, run
from connaudit.cli.commands import Several
from connaudit.cli.flags import click_option, targets_argument
from connaudit.cli.helpful import Helpful
from connaudit.cli.listing import CHOOSING, invocation, options, write
from connaudit.cli.planning import Setup, named, set_up
from connaudit.cli.settings import SETTINGS
from connaudit.configuration import Configured
from connaudit.dataclass import dataclass
from connaudit.diagnostics import diagnostic
from connaudit.errors import ConnauditError
from connaudit.report import Column, Show, Status, Table, Value
from connaudit.snapshot import Address
from connaudit.targets import Target
from connaudit.targets.resolve import Resolved, resolve

COLUMNS = (
    Column("name", "NAME", show=Show.ALWAYS),
    Column("engine", "ENGINE"),
    Column("address", "ADDRESS"),
    Column("role", "ROLE"),
    Column("password_from", "PASSWORD FROM", show=Show.ROOMY),
    Column("tags", "TAGS", show=Show.ROOMY),
    Column("origin", "ORIGIN", show=Show.WIDE),
)
FIELDS = (
    Column("target", "TARGET", show=Show.ALWAYS),
    Column("key", "KEY", show=Show.ALWAYS),
    Column("value", "VALUE", show=Show.ALWAYS),
    Column("origin", "ORIGIN"),
)


@dataclass(frozen=True, slots=True)
class Found:
    """A target as an audit would meet it; `error` says why it could not be completed."""

    target: Target
    own: Configured | None
    error: ConnauditError | None = None

    @property
    def password_from(self) -> str | None:
        """Return where its password comes from; it is not fetched."""
        return self.own.password_from if self.own and self.own.sources else self.target.password_from


def found(setup: Setup) -> list[Found]:
    """Return the chosen targets, all configured ones where none is chosen; one that makes no sense keeps its place."""
    configured = setup.configuration.targets
    words = named(setup) or list(configured)
    chosen = [name for word in words for name in configured if name == word or fnmatch.fnmatchcase(name, word)]
    each = [_completed(name, setup) for name in dict.fromkeys(chosen)]
    others = [word for word in words if not any(fnmatch.fnmatchcase(name, word) for name in configured)]
    if others or not words:
        each += [Found(target, None) for target in _resolved(others, setup).targets]
    return each


def _completed(name: str, setup: Setup) -> Found:
    own = setup.configuration.targets[name]
    resolved = _resolved([name], setup)
    return Found(resolved.targets[0], own, resolved.refused.get(name))


def _resolved(words: list[str], setup: Setup) -> Resolved:
    everyone = {name: own.target for name, own in setup.configuration.targets.items()}
    return resolve(words, environment=setup.call.environment, home=setup.call.home, configured=everyone)


def _told(each: list[Found], table: Table, setup: Setup) -> int:
    """Write the table, say which targets make no sense, and return the exit status."""
    failed = [one for one in each if one.error]
    status = write(table, setup, Status.UNKNOWN if failed else Status.OK, [one.target for one in each])
    for one in failed:
        output.say(f"{one.target.name}: {error_text(one.error)}" if one.error else "")
    return status


@click.pass_context
def _list(context: click.Context, /, targets: tuple[str, ...], **flags: Any) -> int:
    """List the targets: all that are configured, or those that are named. Nothing is connected to."""
    setup = set_up(invocation("targets-list", context, flags, targets))
    each = found(setup)
    rows = tuple(_row(one) for one in each)
    return _told(each, Table("targets", COLUMNS, rows, len(rows)), setup)


def _row(one: Found) -> tuple[Value, ...]:
    target = one.target
    return (
        target.name,
        target.engine,
        str(target.location) or None,
        target.user,
        one.password_from,
        target.tags or None,
        target.origin,
    )


@click.pass_context
def _show(context: click.Context, /, targets: tuple[str, ...], **flags: Any) -> int:
    """Show what holds for a target: where it is, as whom, with which options and thresholds. Never its password."""
    setup = set_up(invocation("targets-show", context, flags, targets))
    each = found(setup)
    rows = tuple((one.target.name, *row) for one in each for row in _fields(one, setup))
    return _told(each, Table("fields", FIELDS, rows, len(rows)), setup)


def _fields(one: Found, setup: Setup) -> Iterator[tuple[Value, ...]]:
    from connaudit.cli.effective import of_target_thresholds

    target = one.target
    yield "engine", target.engine, target.origin
    for host in target.hosts:
        yield "host", str(Address(host.name, None if host.is_socket else host.port, None, None)), target.origin
    yield "database", target.database, target.origin
    yield "role", target.user, target.origin
    yield "password_from", one.password_from, target.origin
    for key, value in target.options:
        yield f"option.{key}", value if isinstance(value, str) else repr(value), target.origin
    if target.tags:
        yield "tags", target.tags, target.origin
    for key in ("timeout", "on-unreachable"):
        if one.own and key in one.own.settings and not setup.settings.is_set(key):
            yield key.replace("-", "_"), one.own.settings[key], target.origin
    yield from of_target_thresholds(one.own, setup)


@click.pass_context
def _test(context: click.Context, /, targets: tuple[str, ...], **flags: Any) -> int:
    """Connect to targets and say OK or why not, with the time that each stage took."""
    return run(invocation("targets-test", context, flags, targets), [diagnostic("reach")])


def _command(name: str, callback: Any, params: list[click.Parameter]) -> click.Command:
    return Helpful(name, callback=callback, params=[targets_argument(), *params], help=callback.__doc__)


command = Several(
    "targets",
    help="Which targets there are, what holds for each, and whether it can be audited.",
    commands=[
        _command("list", _list, options(*CHOOSING)),
        _command("show", _show, options(*CHOOSING)),
        _command("test", _test, [click_option(each) for each in SETTINGS]),
    ],
)
