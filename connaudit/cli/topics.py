"""What `connaudit help TOPIC` and the manual page say, in Markdown; what the program knows itself is generated."""

import inspect
from collections.abc import Callable, Iterable, Sequence

from connaudit.cli import recipes
from connaudit.cli.settings import HELP, SETTINGS, Setting
from connaudit.configuration import SOURCES, SYSTEM
from connaudit.diagnostics import NAMES, Diagnostic, diagnostic
from connaudit.errors import ConnauditError
from connaudit.report import Status
from connaudit.thresholds import Measure

MEANINGS = {
    Status.OK: "all is well, or no worse than --fail-on and --exit-zero let pass",
    Status.WARNING: "a warning threshold was passed",
    Status.CRITICAL: "a critical threshold was passed, or the server refuses connections because it is full",
    Status.UNKNOWN: "could not be determined: out of reach, hidden from the role, bad usage or configuration, a bug",
}

EXIT_CODES = """\
# exit-codes: what the exit status says

One table holds for every command, the one that monitoring systems know:

{statuses}

Several checks or targets are as bad as the gravest of them, in the order CRITICAL, WARNING, UNKNOWN, OK. UNKNOWN is
never hidden by `--exit-zero`. A target out of reach is UNKNOWN unless `--on-unreachable` says otherwise; a full
server is CRITICAL, for that is what is audited. A run that a signal ends dies by it: a shell sees 130, 143 or 129.

What could not be done is one line on stderr, and a word in brackets, which JSON has as `kind`:

{kinds}
"""

THRESHOLDS = """\
# thresholds: when a check is WARNING or CRITICAL

`-w` and `-c` take a condition each, and may be given several times: any that is broken counts.

```
COND   [METRIC=]RANGE
RANGE  N    alert above N, or below 0
       N:   alert below N
       ~:N  alert above N
       N:M  alert outside
       @N:M alert inside
N      a number; with % or pct of the usable connections;
       with ms, s, m, h, d a time: 90s, 1h30m
```

A time without a unit is in seconds, and `m` is minutes. A percentage is of the connections that ordinary roles can
have. In a crontab write `pct`, for an unescaped percent sign ends the command there; in a shell quote `'~:5'`.

{metrics}

`-w` replaces all default warnings of a check, `-c` all default criticals. For `check`, a condition names its check
first, as in `-w idle-tx.age=5m`. In a configuration file they stand under `[thresholds]` and
`[targets.NAME.thresholds]`; `connaudit config show` tells which ones hold and why.
"""

ENVIRONMENT = """\
# environment: variables that are read

Every shared option has a variable, and a further one for each command, which counts more: CONNAUDIT_COUNT_TIMEOUT.
Flags count more than variables, variables more than the configuration file. Several values of one variable are
separated by line ends, never by blanks.

{ours}

Options of a single command have one for that command alone:

{own}

Where none of ours names a target, those of other programs are asked, in this order:

{targets}

And these:

{others}
"""

TARGETS = """\
# targets: how servers are named, and where passwords come from

A TARGET is one of these:

{forms}

Without any, the first of these that names one counts: `CONNAUDIT_TARGET`; `default_targets` of the configuration
file, or all of its targets; `DATABASE_URL`; `PGSERVICE`, `PGHOST`, `PGHOSTADDR` or `PGDATABASE`; `MYSQL_HOST`.
There is no silent default. A percent sign, `@`, `/`, `#`, `{{` and blanks in a password must be percent-encoded in
a URL.

The configuration file is the first of `--config`, `CONNAUDIT_CONFIG`, `~/.config/connaudit/config.toml` and
`{system}`; nothing is read from the current directory. `connaudit config init` writes a first one.

The password of a configured target comes from the first of `{sources}`, then from its URL, then from where the
native client finds it: `.pgpass`, a service file, `PGPASSWORD`; `~/.my.cnf`, `MYSQL_PWD`. It is never asked for,
never taken from an option, and never shown. `connaudit targets list` shows where each comes from, `connaudit
targets test` tries them, `connaudit doctor` says which grants are missing.
"""

CRON = """\
# cron: how others run it

cron knows no terminal, no shell profile and hardly any PATH: write whole paths, and keep targets and thresholds in
a configuration file, whose passwords come from files. Nothing depends on the current directory or the locale.

In a crontab:

{cron}

{heartbeat}

{record}

{textfile}

As a systemd service with its timer:

{service}

{timer}

Its password is what `password_file = "${{CREDENTIALS_DIRECTORY}}/prod-us"` names in the configuration file.

In Nagios, Icinga and their kin:

{nagios}

In a CI job, after its tests:

{ci}

In Kubernetes, a fleet split over the pods of an indexed job (`--shard 2/4` does the same by hand):

{kubernetes}
"""

FORMS = (
    ("postgresql://role@host:5432/db", "a URL; sslmode=verify-full and all of libpq's options"),
    ("host=db1 dbname=shop", "libpq's keywords; service=shop"),
    ("mysql://role@host:3306/", "a URL; ssl-mode=VERIFY_IDENTITY, ssl-ca=FILE, unix_socket=FILE"),
    ("mysql:///?defaults_file=FILE", "an option file; defaults_group=NAME"),
    ("env:NAME", "the variable of that name holds one, or several, a line each"),
    ("file:PATH", "a file of them, one a line; 0600 if any has a password"),
    ("prod-eu, prod-*", "targets of the configuration file, by name or pattern"),
)
AMBIENT = (
    ("DATABASE_URL", "a URL of either family"),
    ("PGSERVICE, PGHOST, PGHOSTADDR, PGDATABASE", "with all further variables of libpq"),
    ("MYSQL_HOST", "with MYSQL_USER, MYSQL_PASSWORD, MYSQL_DATABASE, MYSQL_TCP_PORT, MYSQL_UNIX_PORT, MYSQL_PWD"),
)
OTHERS = (
    ("NO_COLOR, FORCE_COLOR, CLICOLOR_FORCE, TERM", "whether a terminal gets colours"),
    ("COLUMNS", "how wide a terminal is that does not say so itself"),
    ("LC_ALL, LC_CTYPE, LANG", "whether readers can read more than ASCII"),
    ("TZ", "in which zone times are shown"),
    ("HOME, XDG_CONFIG_HOME", "where the configuration lies"),
    ("STATE_DIRECTORY, XDG_STATE_HOME", "where the history lies, if the configuration does not say"),
    ("JOB_COMPLETION_INDEX, JOB_COMPLETIONS", "the share of the targets, as --shard; Kubernetes sets the first"),
    ("CREDENTIALS_DIRECTORY", "set by systemd: ${CREDENTIALS_DIRECTORY}/NAME in password_file"),
)


def exit_codes() -> str:
    """Return the page on exit statuses."""
    statuses = [(str(int(status)), status.name, meaning) for status, meaning in MEANINGS.items()]
    return EXIT_CODES.format(statuses=block(statuses), kinds=block(sorted(_kinds(ConnauditError))))


def _kinds(of: type[ConnauditError]) -> Iterable[tuple[str, str]]:
    """Yield every kind of error with its first sentence."""
    for kind in of.__subclasses__():
        if "kind" in vars(kind):
            sentence = (inspect.getdoc(kind) or "").partition("\n")[0].rstrip(".")
            is_word = sentence[1:2].islower()
            yield f"[{kind.kind}]", sentence[0].lower() + sentence[1:] if is_word else sentence
        yield from _kinds(kind)


def threshold_page() -> str:
    """Return the page on thresholds, with the metrics and defaults of every check."""
    metrics = "\n\n".join(_metrics(diagnostic(name)) for name in NAMES)
    return THRESHOLDS.format(metrics=metrics)


def _metrics(asked: Diagnostic) -> str:
    rows = [(metric.name, _unit(metric.measure), metric.help) for metric in asked.metrics]
    levels = ((("-w", text) for text in asked.warning), (("-c", text) for text in asked.critical))
    held = " ".join(f"{flag} {text}" for level in levels for flag, text in level)
    default = f"default: {held}" if held else "no default"
    return f"**{asked.name}**, {default}; a bare condition is on `{asked.metrics[0].name}`:\n\n{block(rows)}"


def _unit(measure: Measure) -> str:
    return {Measure.SECONDS: "time", Measure.COUNT: "number", Measure.SLOTS: "number or pct"}[measure]


def environment() -> str:
    """Return the page on variables."""
    return ENVIRONMENT.format(
        ours=block([(each.variable(), _help(each)) for each in SETTINGS]),
        own=block(list(_own_variables())),
        targets=block(AMBIENT),
        others=block(OTHERS),
    )


def _help(setting: Setting) -> str:
    return setting.help + HELP.get(setting.name, "")


def _own_variables() -> Iterable[tuple[str, str]]:
    from connaudit.cli.check import ONLY, SKIP
    from connaudit.cli.inspect import STACK
    from connaudit.cli.planning import own_settings
    from connaudit.cli.watch import OWN

    for name in NAMES:
        for each in own_settings(diagnostic(name)).values():
            yield each.variable(name), each.help
    for command, settings in (("check", (ONLY, SKIP)), ("inspect", (STACK,)), ("watch", OWN)):
        for each in settings:
            yield each.variable(command), each.help


def target_page() -> str:
    """Return the page on targets and passwords."""
    return TARGETS.format(forms=block(FORMS), system=SYSTEM, sources="`, `".join(SOURCES))


def cron() -> str:
    """Return the page on cron, systemd, monitoring and CI."""
    texts = {name.lower(): f"```\n{text}```" for name, text in vars(recipes).items() if name.isupper()}
    return CRON.format(**texts)


TOPICS: dict[str, Callable[[], str]] = {
    "exit-codes": exit_codes,
    "thresholds": threshold_page,
    "environment": environment,
    "targets": target_page,
    "cron": cron,
}


def title(topic: str) -> str:
    """Return what a topic is about, without its name."""
    return TOPICS[topic]().partition("\n")[0].partition(": ")[2]


def block(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as a block of code, the last column wrapped below itself where it is long."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]) - 1)]
    lines = [line for row in rows for line in _wrapped(row, widths)]
    return "\n".join(("```", *lines, "```"))


LONGEST = 74  # characters of a line of code, which is indented by four
WIDEST = 26  # of the first columns; where they are wider, the last column goes below


def _wrapped(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    import textwrap

    first = "  ".join(text.ljust(width) for text, width in zip(row[:-1], widths, strict=True)) + "  "
    if len(first) > WIDEST:
        return [
            "  ".join(row[:-1]),
            *textwrap.wrap(row[-1], LONGEST - 4, initial_indent="    ", subsequent_indent="    "),
        ]
    return textwrap.wrap(row[-1], LONGEST, initial_indent=first, subsequent_indent=" " * len(first)) or [first.rstrip()]
