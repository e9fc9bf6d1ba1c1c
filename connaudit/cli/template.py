"""A first configuration file: what there is to set, with the values that hold anyway, commented out."""

from collections.abc import Iterable, Mapping

from connaudit.cli.settings import SETTINGS, Setting, written
from connaudit.configuration import LEVELS
from connaudit.diagnostics import NAMES, Diagnostic, diagnostic

# What a file may well set though nothing is built in, by example.
EXAMPLES: Mapping[str, str] = {"deadline": "30s", "jobs": "64", "limit": "100"}
PLAIN = ("fail-on", "on-unreachable", "timeout", "deadline", "jobs", "format", "limit", "color", "sql")

HEAD = """\
# What connaudit audits, and how. Take the # away from lines that you want; a # with a blank behind it is prose.
# `connaudit config check` says what is wrong with this file, `connaudit config show` what holds and where it was set.
version = 1

# Which targets are audited where none is named; without this line all of them.
#default_targets = ["prod-*"]

# Further files, relative to this one.
#include = ["targets.d/*.toml"]
"""

DEFAULTS = """\
# Any shared option by its long name, with _ for -; a flag or a variable (CONNAUDIT_TIMEOUT) counts more.
#[defaults]
"""

THRESHOLDS = """\
# When a check is WARNING or CRITICAL, as -w and -c would have it: see `connaudit help thresholds`.
#[thresholds]
"""

TARGETS = """\
# One table per target. Without a password here the native clients' files are asked: ~/.pgpass, ~/.my.cnf.
# Other sources, of which the first counts: password_command, password_file, password_env, password.
#[targets.prod-eu]
#dsn = "postgresql://monitor@db.eu.example.net/shop?sslmode=verify-full&sslrootcert=system"
#tags = ["prod", "eu"]
#timeout = "5s"
#[targets.prod-eu.thresholds]
#long-queries = { warning = "15m", critical = "2h" }

#[targets.prod-us]
#dsn = "mysql://monitor@db.us.example.net/?ssl-mode=VERIFY_IDENTITY"
#password_command = ["pass", "show", "db/prod-us"]
#on_unreachable = "critical"
"""

IGNORE = """\
# Findings that somebody has decided to live with, why, until when. `app`, `user`, `db`, `client` choose sessions.
#[[ignore]]
#code = "CA301"
#target = "prod-eu"
#app = "pg_dump*"
#reason = "nightly dump"
#until = 2099-01-01
"""


HISTORY = """\
# Where `connaudit record` keeps what it saw, and for how long: a file, or a database for a whole team by its url.
#[history]
#path = "/var/lib/connaudit/history.db"
#keep_raw = "14d"
#keep_hourly = "400d"

# How many connections an application needs at most: processes x threads, or its pool; more is a leak.
#[bounds]
#"gunicorn: *" = 40
"""


def template() -> str:
    """Return the text of the file."""
    defaults = DEFAULTS + "".join(_lines(each) for each in SETTINGS if each.name in PLAIN)
    thresholds = THRESHOLDS + "".join(_thresholds(diagnostic(name)) for name in NAMES)
    return "\n".join((HEAD, defaults, thresholds, TARGETS, IGNORE, HISTORY))


def _lines(setting: Setting) -> str:
    value = EXAMPLES.get(setting.name) or written(setting, setting.default)
    return f'# {setting.help}\n#{setting.name.replace("-", "_")} = "{value}"\n'


def _thresholds(asked: Diagnostic) -> str:
    levels = zip(LEVELS, (asked.warning, asked.critical), strict=True)
    return f"#{asked.name} = {{ {', '.join(f'{level} = {_toml(texts)}' for level, texts in levels if texts)} }}\n"


def _toml(texts: Iterable[str]) -> str:
    quoted = [f'"{text}"' for text in texts]
    return quoted[0] if len(quoted) == 1 else f"[{', '.join(quoted)}]"
