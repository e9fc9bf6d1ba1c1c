"""The options that all auditing commands share: declared once, read the same from wherever they are set.

A value comes from the flag (after the command, else before it), else from CONNAUDIT_<COMMAND>_<OPTION>, else from
CONNAUDIT_<OPTION>, else from the target's table in the configuration file, else from its [defaults], else it is the
built-in one. Every value is text until its `read` has understood it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any, Self

from connaudit.cli.sharding import read_shard
from connaudit.dataclass import dataclass
from connaudit.errors import UsageError
from connaudit.options import Sql
from connaudit.report import Status, Value
from connaudit.units import format_duration, parse_duration, round_duration

PREFIX = "CONNAUDIT_"
LONGEST_WAIT = 20 * 86400.0  # seconds; epoll knows 31 bits of milliseconds


@dataclass(frozen=True, slots=True)
class Setting:
    """One option: how it is typed, read and explained."""

    name: str
    flags: tuple[str, ...]
    help: str
    read: Callable[[str], Any] = str
    metavar: str = ""
    default: Any = None
    multiple: bool = False
    switch: bool = False

    def variable(self, command: str | None = None) -> str:
        """Return the environment variable, of one command or of all."""
        middle = f"{command}_" if command else ""
        return (PREFIX + middle + self.name).upper().replace("-", "_")


def choice(*words: str) -> Callable[[str], str]:
    """Return a reader that takes one of these words."""

    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"{text!r} is not one of {', '.join(words)}")
        return text

    return read


def positive_duration(text: str) -> float:
    """Read a duration above zero."""
    seconds = parse_duration(text)
    if seconds <= 0:
        raise ValueError("the time must be above zero")
    return seconds


def patience(text: str) -> float:
    """Read how long is waited: no longer than what the system can wait for at once."""
    seconds = positive_duration(text)
    if seconds > LONGEST_WAIT:
        raise ValueError(f"nobody waits longer than {round_duration(LONGEST_WAIT)}")
    return seconds


def whole(least: int) -> Callable[[str], int]:
    """Return a reader of whole numbers from `least` on."""

    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) < least:
            raise ValueError(f"{text!r} is not a whole number from {least} on")
        return int(text)

    return read


def status(text: str) -> Status:
    """Read a verdict by its word."""
    return Status[choice("ok", "warning", "critical", "unknown")(text).upper()]


def fail_on(text: str) -> Status:
    """Read the least verdict that makes the exit status speak."""
    return Status[choice("warning", "critical")(text).upper()]


def again(text: str) -> float:
    """Read after how many seconds something is said again; `yes` is never."""
    return math.inf if text == "yes" else positive_duration(text)


def words(text: str) -> tuple[str, ...]:
    """Read a list separated by commas."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def file_name(text: str) -> str:
    """Read the name of a file."""
    if not text.strip():
        raise ValueError("an empty name of a file: is a shell variable unset?")
    return text


def new_file(text: str) -> str:
    """Read the name of a file that is not standard output, where the report goes."""
    if text == "-":
        raise ValueError("a sample is no report, and goes to a file; /dev/stdout is one")
    return file_name(text)


def format_name(text: str) -> str:
    """Read the name of a format for reports."""
    from connaudit.render import FORMATS

    if text not in FORMATS:
        raise ValueError(f"there is no format {text!r}; there are {', '.join(FORMATS)}")
    return text


def _filter(name: str, what: str) -> tuple[Setting, Setting]:
    with_ = Setting(name, (f"--{name}",), f"only sessions of this {what}", metavar="GLOB", multiple=True)
    without = Setting(f"not-{name}", (f"--not-{name}",), f"no sessions of this {what}", metavar="GLOB", multiple=True)
    return with_, without


SETTINGS: tuple[Setting, ...] = (
    Setting("target", ("-T", "--target"), "what to audit, as the argument", metavar="TARGET", multiple=True),
    Setting("tag", ("--tag",), "all configured targets with this tag", metavar="TAG", multiple=True),
    Setting("all", ("--all",), "all configured targets", switch=True),
    Setting("shard", ("--shard",), "audit only this share of the targets, such as 2/4", read_shard, "I/N"),
    Setting("config", ("--config",), "read this configuration file; `none` reads none", file_name, "FILE"),
    Setting("warning", ("-w", "--warning"), "WARNING when METRIC leaves RANGE", metavar="COND", multiple=True),
    Setting("critical", ("-c", "--critical"), "CRITICAL when METRIC leaves RANGE", metavar="COND", multiple=True),
    Setting("fail-on", ("--fail-on",), "exit 0 below this verdict", fail_on, "warning|critical", Status.WARNING),
    Setting("exit-zero", ("--exit-zero",), "exit 0 whatever is found; 3 is never hidden", switch=True),
    Setting(
        "on-unreachable",
        ("--on-unreachable",),
        "the verdict on a target that cannot be reached",
        status,
        "STATUS",
        Status.UNKNOWN,
    ),
    Setting(
        "allow-partial", ("--allow-partial",), "judge what is visible: hidden sessions are no UNKNOWN", switch=True
    ),
    Setting("timeout", ("-t", "--timeout"), "per target, DNS to last row", patience, "DUR", 10.0),
    Setting("deadline", ("--deadline",), "for the whole run", patience, "DUR"),
    Setting("jobs", ("-j", "--jobs"), "targets at once, one connection each", whole(1), "N"),
    Setting("format", ("-f", "--format"), "how the report is written", format_name, "FORMAT", "table"),
    Setting("json", ("--json",), "the same as -f json", switch=True),
    Setting("output", ("-o", "--output"), "write there; an existing file is replaced at once", file_name, "FILE"),
    Setting("save", ("--save",), "keep what servers told in this file, for --from", new_file, "FILE"),
    Setting(
        "from", ("--from",), "judge what --save has kept, and ask no server; `-` is standard input", file_name, "FILE"
    ),
    Setting("record", ("--record",), "store this run in the history, too", switch=True),
    Setting("fields", ("--fields",), "only these columns; `help` lists them", words, "LIST|help"),
    Setting("sort", ("--sort",), "order rows by a column", metavar="FIELD[:desc]"),
    Setting("limit", ("-n", "--limit"), "at most so many rows", whole(1), "N"),
    Setting("width", ("--width",), "columns of a table", whole(10), "N"),
    Setting("ascii", ("--ascii",), "escape what is not ASCII", switch=True),
    Setting("color", ("--color",), "when to colour", choice("auto", "always", "never"), "auto|always|never", "auto"),
    Setting("no-color", ("--no-color",), "the same as --color never", switch=True),
    Setting("no-header", ("--no-header",), "tables without their first line", switch=True),
    Setting("utc", ("--utc",), "times in UTC", switch=True),
    Setting("sql", ("--sql",), "how much of statements is shown", Sql, "masked|raw|none", Sql.MASKED),
    *_filter("db", "database"),
    *_filter("user", "user"),
    *_filter("app", "application"),
    *_filter("client", "client address"),
    *_filter("state", "state"),
    Setting(
        "changes-only",
        ("--changes-only",),
        "speak only when a verdict has changed, and every DUR while it is bad; written with =",
        again,
        "[=DUR]",
    ),
    Setting("process", ("--process",), "find the clients' processes, where they run on this host", switch=True),
    Setting("quiet", ("-q", "--quiet"), "not a byte when all is well", switch=True),
    Setting("verbose", ("-v", "--verbose"), "details of every target, and what it took", switch=True),
    Setting("debug", ("--debug",), "a traceback, without values, when connaudit itself fails", switch=True),
)

# What a configuration file's [defaults] may set: it cannot name itself, and has default_targets for targets.
OF_FILES = tuple(each.name for each in SETTINGS if each.name not in ("config", "target"))

HELP = {
    "fail-on": " [default: warning]",
    "on-unreachable": " [default: unknown]",
    "timeout": " [default: 10s]",
    "deadline": " [default: 30s, or the timeout and 5s]",
    "format": " [default: table]",
    "color": " [default: auto]",
    "sql": " [default: masked]",
    "limit": " [default: 20 on a terminal, else all]",
}


@dataclass(frozen=True, slots=True)
class Effective:
    """One value in force, and where it was set: a flag, a variable, the configuration, or nowhere (`default`)."""

    value: Any
    origin: str


class Values:
    """The effective value of every shared option in one run of a command."""

    def __init__(self, found: Mapping[str, Effective]) -> None:
        self._found = found

    def __getitem__(self, name: str) -> Any:
        return self._found[name].value

    def replaced(self, **others: Any) -> Self:
        """Return the same values but for those."""
        found = {name: Effective(value, self._found[name].origin) for name, value in others.items()}
        return type(self)({**self._found, **found})

    def origin(self, name: str) -> str:
        """Return where a value was set."""
        return self._found[name].origin

    def is_set(self, name: str) -> bool:
        """Return whether a flag or a variable set it, which then counts more than a target's own table."""
        return self._found[name].origin.startswith(("-", PREFIX))

    def is_given(self, name: str) -> bool:
        """Return whether a flag set it."""
        return self._found[name].origin.startswith("-")

    @property
    def deadline(self) -> float:
        """Return the seconds that the whole run may take."""
        return float(self["deadline"] or max(30.0, self["timeout"] + 5.0))

    @property
    def format(self) -> str:
        """Return the name of the format."""
        is_json = self["json"] and _rank(self.origin("json")) >= _rank(self.origin("format"))
        return "json" if is_json else str(self["format"])


def _rank(origin: str) -> int:
    """Return how much a value counts by where it was set: a flag most, then a variable, then a file."""
    return 3 if origin.startswith("-") else 2 if origin.startswith(PREFIX) else 1 if origin != "default" else 0


@dataclass(frozen=True, slots=True)
class Sources:
    """Where values are looked for: what flags gave (what counts most first), the environment, the configuration."""

    command: str
    given: Sequence[Mapping[str, Any]] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    file: str = "config"

    def raw(self, setting: Setting) -> tuple[str, str | bool | Sequence[str] | None]:
        """Return where a value was set, and it as it stands there."""
        for flags in self.given:
            value = flags.get(setting.name)
            if value not in (None, (), False):
                return setting.flags[-1], value
        for variable in (setting.variable(self.command), setting.variable()):
            text = self.environment.get(variable)
            if text:
                return variable, text.splitlines() if setting.multiple else text
        if setting.name in self.defaults:
            stands = self.defaults[setting.name]
            return f"{self.file}: [defaults] {setting.name}", (stands,) if setting.multiple and isinstance(
                stands, str
            ) else stands
        return "default", None

    def effective(self, setting: Setting) -> Effective:
        """Return a setting's value in force; UsageError says which text makes no sense, and why."""
        origin, raw = self.raw(setting)
        if raw is None:
            return Effective(() if setting.multiple else False if setting.switch else setting.default, origin)
        try:
            return Effective(_read(setting, raw), origin)
        except ValueError as error:
            raise UsageError(f"{origin}: {_reason(error, setting)}") from None


def values(sources: Sources) -> Values:
    """Return every setting's effective value; UsageError says which one makes no sense, and why."""
    return Values({setting.name: sources.effective(setting) for setting in SETTINGS})


def written(setting: Setting, value: Any) -> Value:
    """Return a value as text, as it would be written in a configuration file; None where nothing is set."""
    if isinstance(value, tuple):
        return tuple(written(setting, item) for item in value)
    if isinstance(value, Status):
        return value.word
    if isinstance(value, float) and setting.metavar == "DUR":
        return format_duration(value) if parse_duration(format_duration(value)) == value else f"{value:g}s"
    if isinstance(value, bool):
        return str(value).lower()
    return None if value is None else str(value)


def setting(name: str) -> Setting:
    """Return the setting of that name."""
    return next(each for each in SETTINGS if each.name == name)


def _read(setting: Setting, raw: str | bool | Sequence[str]) -> Any:
    if setting.switch:
        return _truth(raw) if isinstance(raw, str) else bool(raw)
    if isinstance(raw, str):
        return setting.read(raw)
    if not setting.multiple and not isinstance(raw, bool):
        raise ValueError("one value stands here, not a list")
    return raw if isinstance(raw, bool) else tuple(setting.read(item) for item in raw)


def _reason(error: ValueError, setting: Setting) -> str:
    return "statements are shown masked, raw or none" if setting.name == "sql" else str(error)


def _truth(text: str) -> bool:
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise ValueError(f"{text!r} is neither yes nor no")
