"""From the text that names a server to a `Target`: URLs of both engines, libpq's keyword strings.

Nothing is looked up here: what a text leaves open stays open until `complete` of its engine fills it in.
"""

import re
from dataclasses import replace

from connaudit.errors import UsageError
from connaudit.targets import Target, conninfo, mysql, postgresql, url
from connaudit.targets.malformed import Malformed, nearest

_POSTGRESQL = ("postgresql", "postgres", "pgsql", "psql", "postgis", "timescale", "timescaledb", "timescalegis", "pg")
_MYSQL = ("mysql", "mariadb", "mysql2", "mysqlgis", "mysql-connector", "mysqlx-connector")
_AUDITED = "connaudit audits PostgreSQL (postgresql://) and MySQL or MariaDB (mysql://, mariadb://)"
_FILES = ("sqlite", "sqlite3", "spatialite", "duckdb")
_POOLERS = {"pgbouncer": "PgBouncer's", "proxysql": "ProxySQL's"}
_OTHERS = ("oracle", "mssql", "sqlserver", "redshift", "cockroach", "cockroachdb", "mongodb", "redis", "snowflake")

_URL = re.compile(r"[^\s=/?@]*://")
_ALMOST_URL = re.compile(r"[A-Za-z0-9+:_-]*//?[^/]*@|[A-Za-z0-9+_-]+//|(postgres(ql)?|mysql|mariadb)(\+\w+)?:")


def is_dsn(text: str) -> bool:
    """Whether a text is meant to say all of a target itself, rather than to be the name of one.

    >>> [is_dsn(text) for text in ("postgresql:///", "host=db1", "postgres//me@db1", "prod-*")]
    [True, True, True, False]
    """
    return "://" in text or "=" in text or bool(_ALMOST_URL.match(text))


def parse(text: str, *, name: str | None = None, origin: str = "argument") -> Target:
    """Return the target that a URL or a keyword string describes, called `name` or else by its address.

    Raises UsageError with the place of what is wrong, never with what stands there. Neither the exception, nor its
    cause, nor the frames of its traceback below the caller's hold the text.
    """
    what = "URL" if _URL.match(text.strip()) or _ALMOST_URL.match(text.strip()) else "connection string"
    outcome = _read(text)
    del text
    if isinstance(outcome, Malformed):
        where = f"target {name}: " if name else "" if origin == "argument" else f"{origin}: "
        place = f"the {what} is not valid " if outcome.position else ""
        raise UsageError(f"{where}{place}{outcome}")
    return _named(outcome, name, origin)


def _named(target: Target, name: str | None, origin: str) -> Target:
    return replace(target, name=name or address_name(target), origin=origin)


def address_name(target: Target) -> str:
    """Return what to call a target that nobody named: its address, which holds no secret."""
    location = str(target.location)
    host = target.hosts[0] if target.hosts else None
    if host and host.is_socket and host.port not in (None, 5432):  # two servers may share a directory
        return location.replace(host.name, f"{host.name}:{host.port}", 1)
    return location or target.engine


def _read(text: str) -> Target | Malformed:
    """Return the target, or what is wrong: returned, so that no traceback leads to the text."""
    stripped = text.strip()
    offset = len(text) - len(text.lstrip())
    try:
        return _target(stripped)
    except Malformed as malformed:
        position = malformed.position
        return Malformed(malformed.why, position + offset if position else None)


def _target(text: str) -> Target:
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise Malformed("what names the target is not UTF-8")
    if _URL.match(text):
        engine = _engine(text.partition("://")[0].lower())
        parts = url.split(text)
        return mysql.from_url(parts) if engine == "mysql" else postgresql.from_url(parts)
    if _ALMOST_URL.match(text):
        raise Malformed("a URL begins with postgresql://, mysql:// or mariadb://", 1)
    return postgresql.from_pairs(conninfo.split(text))


def _engine(scheme: str) -> str:
    """Return the engine of a scheme; a suffix such as +psycopg2 names a driver, which is the application's affair."""
    product = scheme.partition("+")[0]
    if product in _POSTGRESQL:
        return "postgresql"
    if product in _MYSQL:
        return "mysql"
    if product in _FILES:
        raise Malformed(f"{product}:// names a file, not a server: it has no connections to audit; {_AUDITED}")
    if product in _POOLERS:
        raise Malformed(f"{_POOLERS[product]} own console cannot be audited yet; {_AUDITED}")
    if product in _OTHERS:
        raise Malformed(f"{product}:// is not for connaudit; {_AUDITED}")
    guess = nearest(product, [*_POSTGRESQL, *_MYSQL])
    raise Malformed(f"unknown scheme{guess}; {_AUDITED}" if not guess else f"unknown scheme{guess} {_AUDITED}", 1)
