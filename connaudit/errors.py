"""Why connaudit could not do what it was asked.

    ConnauditError            one line for the user: what, where, what to do
    |- UsageError             the command line or the environment makes no sense     [usage]
    |- ConfigError            a configuration file makes no sense                    [config]
    |- OutputError            the report could not be written                        [output]
    |- HistoryError           the history could not be read or written               [history]
    `- TargetError            this target could not be audited
       |- NotSetUp            its password, or a file that it names, cannot be had   [config]
       |- NameUnknown         its host name has no address                           [dns]
       |- Refused             nobody listens there                                   [refused]
       |- TimedOut            it did not answer in time; the stage says how far we got [timeout]
       |- TlsFailed           TLS was demanded and is absent, or its certificate is wrong [tls]
       |- LoginRefused        wrong password, unknown role, no pg_hba.conf line      [auth]
       |- NoDatabase          it has no such database                                [no_database]
       |- NoSlotsLeft         it is full: not a failure to look, but the finding     [too_many_connections]
       |- NotAllowed          the role may not do even the least                     [privilege]
       |- NotUnderstood       it is not a server that connaudit knows                [protocol]
       `- QueryFailed         a statement failed, or the connection broke            [query]

The word in brackets is the stable `kind` that scripts see. A message never holds a password, nor the text
that a user gave for a target: drivers' exceptions are translated where they are caught and then dropped.
"""

from typing import ClassVar


class ConnauditError(Exception):
    """Something that a user or a server caused; `str()` is one line, `hint` says what to do."""

    kind: ClassVar[str] = "internal"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(ConnauditError):
    """The command line, or an environment variable that stands for it, makes no sense."""

    kind = "usage"


class ConfigError(ConnauditError):
    """A configuration, service or option file makes no sense, or may not be read."""

    kind = "config"


class OutputError(ConnauditError):
    """The report could not be written."""

    kind = "output"


class HistoryError(ConnauditError):
    """The history could not be read or written, or is of a newer connaudit."""

    kind = "history"


class NoHistory(HistoryError):
    """Nothing was ever recorded there."""


class TargetError(ConnauditError):
    """A target could not be audited.

    `stage` is how far the attempt came: dns, tcp, tls, login or query; None if it never began.
    """

    def __init__(self, message: str, *, stage: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.stage = stage


class NotSetUp(TargetError):
    """What a target needs cannot be had: its password, its service, its option file."""

    kind = "config"


class NameUnknown(TargetError):
    """The host name has no address."""

    kind = "dns"


class Refused(TargetError):
    """Nobody listens there, or the network says no at once."""

    kind = "refused"


class TimedOut(TargetError):
    """No answer within `--timeout` or `--deadline`."""

    kind = "timeout"


class TlsFailed(TargetError):
    """TLS was demanded and could not be had, or the certificate is not to be trusted."""

    kind = "tls"


class LoginRefused(TargetError):
    """The server knows better than to let this role in."""

    kind = "auth"


class NoDatabase(TargetError):
    """The server has no such database, or keeps it from this role."""

    kind = "no_database"


class NoSlotsLeft(TargetError):
    """The server, the role, the database or the pooler has no connection left: what people call us for.

    `limit` names what is full: server, role, database or pooler.
    """

    kind = "too_many_connections"

    def __init__(self, message: str, *, limit: str, stage: str | None = "login", hint: str | None = None) -> None:
        super().__init__(message, stage=stage, hint=hint)
        self.limit = limit


class NotAllowed(TargetError):
    """The role lacks a privilege without which nothing can be said."""

    kind = "privilege"


class NotUnderstood(TargetError):
    """The peer is no server that connaudit knows, or one too old for it."""

    kind = "protocol"


class QueryFailed(TargetError):
    """A statement failed, or the connection broke while it ran."""

    kind = "query"
