"""Why no connection could be had, read from what libpq says.

The server's sentences are translated by lc_messages; the words between quotes, the names of settings and files, and
libpq's own sentences are not. What is known by its words is told best by them; for the rest there is the SQLSTATE.
"""

import re
from collections.abc import Callable

from connaudit.dataclass import dataclass
from connaudit.errors import (
    LoginRefused,
    NoDatabase,
    NoSlotsLeft,
    NotUnderstood,
    QueryFailed,
    Refused,
    TargetError,
    TimedOut,
    TlsFailed,
)
from connaudit.targets import Target

_ATTEMPT = re.compile(r"^connection to server (?:at|on socket) .*? failed: ")
_SEVERITY = re.compile(r"^(?:[^\W\d_]+:\s+|fe_sendauth: )(?=\S)")
_SQLSTATE = re.compile(r"^([0-9A-Z]{5}):\s+(?=\S)")
_ASIDES = re.compile(r"Is the server running|DETAIL:|HINT:|LOCATION:|\s")

# Who may still get in where ordinary roles may not: the auditor should be one of them.
_RESERVED_HINT = "superusers can still connect"
_RESERVED_16_HINT = "superusers and members of pg_use_reserved_connections can still connect: grant it to this role"


@dataclass(frozen=True, slots=True)
class _Rule:
    """A pattern over one line, and the error that it means. Earlier rules win, over all lines.

    Patterns are compiled when something has failed: most runs need none of them.
    """

    pattern: str
    error: Callable[[str, str, str | None], TargetError]
    hint: str | None = None
    is_local: bool = False  # it speaks of sockets: the same words mean something else where a server says them


def _full(limit: str) -> Callable[[str, str, str | None], TargetError]:
    return lambda text, stage, hint: NoSlotsLeft(text, limit=limit, stage=stage, hint=hint)


def _of(kind: type[TargetError]) -> Callable[[str, str, str | None], TargetError]:
    return lambda text, stage, hint: kind(text, stage=stage, hint=hint)


_RULES = (
    # Full: the server, one role, one database, the pooler in front.
    _Rule(r"pg_use_reserved_connections", _full("server"), _RESERVED_16_HINT),
    _Rule(r"remaining connection slots are reserved|\bSUPERUSER\b", _full("server"), _RESERVED_HINT),
    _Rule(r"too many clients already", _full("server"), "not even a superuser can connect: end sessions on the server"),
    _Rule(r"too many connections for role", _full("role"), "raise it with ALTER ROLE ... CONNECTION LIMIT"),
    _Rule(r"too many connections for database", _full("database"), "raise it with ALTER DATABASE ... CONNECTION LIMIT"),
    _Rule(r"max_wal_senders", _full("server"), "the target asks for a replication connection"),
    _Rule(
        r"no more connections allowed|max_client_conn|query_wait_timeout|max_user_client_connections"
        r"|max_db_client_connections|client_login_timeout",
        _full("pooler"),
        "the pooler is full: ask PostgreSQL behind it directly",
    ),
    _Rule(r"max_user_connections|max_db_connections", _full("pooler")),
    # Our own side.
    _Rule(
        r"could not create socket|too many open files",
        _of(QueryFailed),
        "raise the limit (ulimit -n), or audit fewer at once (--jobs)",
    ),
    _Rule(r"invalid connection option", _of(NotUnderstood), "this libpq is too old for the option"),
    _Rule(r"^invalid \w+ value: ", _of(NotUnderstood)),
    # TLS.
    _Rule(r"server does not support SSL", _of(TlsFailed), "sslmode demands TLS: switch ssl on there, or ask for less"),
    _Rule(r"root certificate file .* does not exist", _of(TlsFailed), "give sslrootcert, or sslrootcert=system"),
    _Rule(
        r"certificate .*does not match host name",
        _of(TlsFailed),
        "connect by a name in the certificate, or accept any name with sslmode=verify-ca",
    ),
    _Rule(r"certificate verify failed|server certificate|unable to verify", _of(TlsFailed), "check sslrootcert"),
    _Rule(r"private key|certificate file|sslmode|sslcert|sslkey|sslrootcert", _of(TlsFailed)),
    # Let in or not.
    _Rule(r"pg_hba\.conf rejects", _of(LoginRefused), "a line of pg_hba.conf says so: change it, or come another way"),
    _Rule(
        r"pg_hba\.conf.*no encryption",
        _of(LoginRefused),
        "pg_hba.conf has no line for this address, role and database without TLS: add one, or use sslmode=require",
    ),
    _Rule(r"pg_hba\.conf", _of(LoginRefused), "add a line for this address, role and database to pg_hba.conf"),
    _Rule(r"no password supplied", _of(LoginRefused), "give a password: .pgpass, PGPASSWORD or a password file"),
    _Rule(r"password authentication failed|SASL authentication failed|authentication failed", _of(LoginRefused)),
    _Rule(
        r"could not access file|could not load library",
        _of(LoginRefused),
        "session_preload_libraries or local_preload_libraries of this role, database or server names no such library",
    ),
    _Rule(r"role \"?.*\"? (does not exist|is not permitted to log in)|no such user", _of(LoginRefused)),
    _Rule(r"permission denied for database", _of(NoDatabase), "GRANT CONNECT ON DATABASE ... TO this role"),
    _Rule(r"not currently accepting connections|^(authentication )?database .* is disabled", _of(NoDatabase)),
    _Rule(r"database \"?.*\"? does not exist|no such database|cannot connect to invalid database", _of(NoDatabase)),
    # Not the server, or not now.
    _Rule(r"is starting up|is shutting down|not yet accepting|in recovery mode", _of(Refused), "try again soon"),
    _Rule(r"not accepting connections", _of(Refused), "a standby lets nobody in while its hot_standby is off"),
    _Rule(
        r"received invalid response|unsupported frontend protocol|expected authentication request|Got packets out",
        _of(NotUnderstood),
        "is this a PostgreSQL server?",
    ),
    _Rule(r"unsupported startup parameter", _of(LoginRefused), "PgBouncer refuses options=, PGOPTIONS: leave it out"),
    _Rule(
        r"session is (not )?read-only|server is (not )?in hot standby|is not in hot standby",
        _of(Refused),
        "no host is what target_session_attrs asks for",
    ),
    _Rule(r"timeout expired|timed out", _of(TimedOut)),
    _Rule(r"could not translate host name", _of(Refused), "check the spelling, or your DNS"),
    _Rule(r"connection refused|no such file or directory", _of(Refused), "is the server running there?", is_local=True),
    _Rule(r"no route|unreachable|permission denied|reset by peer|closed the connection", _of(Refused), is_local=True),
    _Rule(r"SSL|TLS", _of(TlsFailed)),
)
_BY_SQLSTATE = {
    "53300": _full("server"),  # too_many_connections; of which limit it speaks only its words tell
    "28P01": _of(LoginRefused),
    "28000": _of(LoginRefused),
    "3D000": _of(NoDatabase),
    "57P03": _of(Refused),  # cannot_connect_now
}
_LAST_RESORT = {"tls": TlsFailed, "login": LoginRefused, "query": QueryFailed}


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of what libpq says: a sentence, and its SQLSTATE if it is the server's."""

    text: str
    sqlstate: str | None = None


def of_connect(text: str, stage: str, target: Target) -> TargetError:
    """Return the error that a failed attempt means."""
    lines = [_line(line) for line in text.splitlines()]
    told = list(dict.fromkeys(line for line in lines if line.text and not _ASIDES.match(line.text)))
    return _decisive(told or [_Line("the connection failed without a reason")], stage, target)


def _line(text: str) -> _Line:
    sentence = _SEVERITY.sub("", _ATTEMPT.sub("", text.strip()))
    coded = _SQLSTATE.match(sentence)
    return _Line(sentence[coded.end() :], coded[1]) if coded else _Line(sentence)


def _decisive(lines: list[_Line], stage: str, target: Target) -> TargetError:
    for rule in _RULES:
        for line in lines:
            is_about = line.sqlstate is None or not rule.is_local
            if is_about and re.search(rule.pattern, line.text, re.IGNORECASE):
                return rule.error(_clean(line.text, target), stage, rule.hint)
    for line in lines:
        if line.sqlstate in _BY_SQLSTATE:
            return _BY_SQLSTATE[line.sqlstate](_clean(line.text, target), stage, None)
    last = next((line for line in lines if line.sqlstate), lines[-1])  # what follows it tells where in the server
    return _LAST_RESORT.get(stage, Refused)(_clean(last.text, target), stage=stage)


def _clean(line: str, target: Target) -> str:
    """Return the line without secrets: libpq quotes an option that it does not understand."""
    values = [target.password, *(value for _, value in target.options if not isinstance(value, str))]
    for secret in values:
        if secret is not None and secret.reveal():
            line = line.replace(f'"{secret.reveal()}"', '"***"')
    return line


def of_break(text: str, target: Target) -> TargetError:
    """Return the error for a connection that ended while statements ran; a pooler says so only then that it is full."""
    error = of_connect(text, "query", target)
    if isinstance(error, NoSlotsLeft):
        return error
    return QueryFailed(f"the connection broke: {error.message}", stage="query")


def hint_for_silence(stage: str) -> str | None:
    """Return what a server that took the connection and then said nothing may suffer from."""
    return {
        "tcp": "the host is down, or a firewall drops the packets",
        "tls": "something listens there but does not answer: an overloaded server, or not PostgreSQL",
        "login": "the server answers, but no login gets through: overloaded, paused, or a lock on pg_authid",
    }.get(stage)
