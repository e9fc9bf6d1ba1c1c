"""The connection: dialled by us, spoken by PyMySQL, bounded by an `Attempt`.

Two round trips from TCP to the first row: greeting and login, then a batch. PyMySQL alone would make four of them.
"""

import select
import socket
from collections.abc import Iterator, Mapping
from typing import Any

import pymysql
from pymysql.connections import Connection
from pymysql.constants import CLIENT, CR
from pymysql.converters import encoders

from connaudit.engines.mysql import failures, tls
from connaudit.engines.mysql.attempt import Attempt
from connaudit.errors import LoginRefused, NameUnknown, NotUnderstood, Refused, TargetError, TimedOut
from connaudit.targets import Host, Target

PORT = 3306
Row = Mapping[str, bytes | None]

# A PostgreSQL server waits for its client to speak first, as a MySQL client waits for the server: both would wait for
# ever. To this question it answers with one letter, and a MySQL server that was silent for so long is given up anyway.
_POSTGRESQL_SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
_LAST_PART = 0.2  # of the time, kept for asking so
_GREETING = 10  # protocol version; 255 begins an error in its place
_ENCODERS: Any = dict(encoders)  # and no decoders: cells stay as they came
_IN_CLEAR = (b"mysql_clear_password", b"dialog")


class Refusal(Exception):
    """The server would not run one statement of a batch."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{text} ({code})")
        self.code = code
        self.text = text

    @property
    def denied(self) -> bool:
        """Whether a privilege is lacking."""
        return self.code in failures.DENIED


class Wire(Connection):
    """A connection that is named, speaks bytes, and sets nothing that would outlive it in somebody's pool."""

    # What PyMySQL sets and its published types leave out.
    _sock: socket.socket | None
    _secure: bool
    server_version: str

    def __init__(self, target: Target, host: Host, attempt: Attempt) -> None:
        left = attempt.remaining()
        super().__init__(
            host=host.name if not host.is_socket else "localhost",
            user=target.user,
            # A str would be sent as Latin-1.
            password=target.password.reveal().encode() if target.password else b"",
            database=target.database,
            port=host.port or PORT,
            unix_socket=host.name if host.is_socket else None,
            charset="utf8mb4",
            use_unicode=False,  # one statement of somebody's that is no UTF-8 would end the audit
            conv=_ENCODERS,
            client_flag=CLIENT.MULTI_STATEMENTS,
            autocommit=None,
            program_name="connaudit",
            connect_timeout=left,
            read_timeout=left,
            write_timeout=left,
            ssl_disabled=True,
            defer_connect=True,
        )
        self._attempt = attempt
        self._autocommits: bool | None = None  # not asked yet
        self._secure = host.is_socket  # PyMySQL would know only if it had dialled itself
        self._ask_for_tls(tls.mode(target, host.is_socket), target)

    def _ask_for_tls(self, mode: str, target: Target) -> None:
        """Have PyMySQL take TLS from us rather than load a CA store of its own."""
        if mode == tls.DISABLED:
            return
        self.ssl = True
        self.ctx = tls.Gate(mode, target, self._attempt)
        self._ssl_required = mode != tls.PREFERRED
        if self._ssl_required:
            self.client_flag |= CLIENT.SSL

    def set_character_set(self, charset: str, collation: str | None = None) -> None:
        """Save the round trip of SET NAMES: the handshake has said it."""

    def _process_auth(self, plugin_name: bytes, auth_packet: Any, handler: Any = None) -> Any:
        if plugin_name in _IN_CLEAR and not self._secure:
            message = "the server asks for the password in clear text, and the connection is not encrypted"
            raise LoginRefused(message, stage="login", hint="demand TLS with ssl-mode=VERIFY_IDENTITY")
        return super()._process_auth(plugin_name, auth_packet, handler)  # type: ignore[misc]

    @property
    def encrypted(self) -> bool:
        """Whether TLS is on."""
        return hasattr(self._sock, "cipher")

    @property
    def session(self) -> int:
        """Return the session number that the greeting gave; a pooler's own where one answered."""
        return int(self.thread_id())  # type: ignore[no-untyped-call]

    @property
    def greeted_as(self) -> str:
        """Return the version that the greeting gave; a pooler's own where one answered."""
        return self.server_version

    def batch(self, text: str, values: Mapping[str, object]) -> tuple[list[list[Row]], Refusal | None]:
        """Run statements joined by semicolons in one round trip; return the rows of each up to the first refused."""
        answers: list[list[Row]] = []
        cursor = self.cursor()
        try:
            cursor.execute(text, values)
            answers.append(_rows(cursor))
            while cursor.nextset():
                answers.append(_rows(cursor))
        except pymysql.MySQLError as error:
            code, said = failures.code_and_text(error)
            if code is None or 2000 <= code < 3000 or self._sock is None:
                raise
            return answers, Refusal(code, said)
        return answers, None

    def rest(self) -> None:
        """Leave no transaction open until the next batch: with autocommit off, what was read stays locked."""
        if self._autocommits is None:
            ((row,),), _ = self.batch("select @@session.autocommit as autocommit", {})
            self._autocommits = row["autocommit"] == b"1"
        if not self._autocommits:
            self.rollback()

    def wake(self, attempt: Attempt) -> None:
        """Take up a connection that has rested; pymysql.MySQLError says why it was lost meanwhile."""
        self._attempt = attempt
        self._read_timeout = self._write_timeout = attempt.remaining()
        if self._sock is None:
            raise pymysql.OperationalError(CR.CR_SERVER_LOST, "")
        attempt.hold(self._sock)
        waiting = select.poll()
        waiting.register(self._sock, select.POLLIN)
        if waiting.poll(0):  # nobody asked: it is the server's last word, or the end
            self._next_seq_id = 0
            self._read_packet()  # type: ignore[no-untyped-call]
            raise pymysql.OperationalError(CR.CR_SERVER_LOST, "")


def _rows(cursor: Any) -> list[Row]:
    names = [column[0].lower() for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def connected(target: Target, attempt: Attempt) -> tuple[Wire, Host]:
    """Return a connection that is logged in, to the first host that is there; TargetError of the last that is not."""
    places = list(target.hosts) or [Host("localhost", PORT)]
    failure: TargetError = NameUnknown("no host is named", stage="dns")
    for position, host in enumerate(places):
        try:
            share = attempt.remaining() / (len(places) - position)
            sock = _dialled(host, share, attempt)
        except (NameUnknown, Refused, TimedOut) as error:
            failure = error
            continue
        return _logged_in(target, host, sock, attempt), host
    raise failure


def _dialled(host: Host, share: float, attempt: Attempt) -> socket.socket:
    """Return a socket on which a MySQL server has greeted, within `share` seconds."""
    attempt.enter("dns")
    places = list(_places(host))
    attempt.enter("tcp")
    failure: TargetError = NameUnknown(f"the name {host.name} has no address", stage="dns")
    for position, (family, address) in enumerate(places):
        patience = min(share, attempt.remaining()) / (len(places) - position)
        sock = _socket(family)
        try:
            _open(sock, address, patience, attempt)
            _await_greeting(sock, patience, attempt)
        except OSError as error:
            sock.close()
            failure = failures.of_network(error, _spoken(host), attempt)
        except TargetError:
            sock.close()
            raise
        else:
            return sock
    raise failure


def _socket(family: socket.AddressFamily) -> socket.socket:
    try:
        return socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        failure = failures.of_system(error)
    raise failure


def _places(host: Host) -> Iterator[tuple[socket.AddressFamily, Any]]:
    """Yield the addresses of a host; NameUnknown if it has none."""
    if host.is_socket:
        yield socket.AF_UNIX, "\0" + host.name[1:] if host.name.startswith("@") else host.name
        return
    try:
        found = socket.getaddrinfo(host.address or host.name, host.port or PORT, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        failure = failures.of_name(error, host.name)
    else:
        yield from ((family, address) for family, _, _, _, address in found)
        return
    raise failure


def _spoken(host: Host) -> str:
    if host.is_socket:
        return host.name
    return f"[{host.name}]:{host.port or PORT}" if ":" in host.name else f"{host.name}:{host.port or PORT}"


def _open(sock: socket.socket, address: Any, patience: float, attempt: Attempt) -> None:
    attempt.hold(sock)
    sock.settimeout(patience)
    sock.connect(address)
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _await_greeting(sock: socket.socket, patience: float, attempt: Attempt) -> None:
    """Wait until the server speaks, and make sure that it speaks MySQL; nothing is taken from the socket."""
    attempt.enter("login")
    sock.settimeout(min(patience, attempt.remaining()) * (1 - _LAST_PART))
    try:
        begun = sock.recv(5, socket.MSG_PEEK)
    except TimeoutError:
        _ask_whether_postgresql(sock, patience * _LAST_PART)
        raise
    if not begun:
        raise ConnectionResetError(0, "it closes the connection at once")
    if len(begun) == 5 and (begun[3] != 0 or begun[4] not in (_GREETING, 255)):
        raise NotUnderstood("what answers there is neither MySQL nor MariaDB", stage="login")


def _ask_whether_postgresql(sock: socket.socket, patience: float) -> None:
    sock.settimeout(patience)
    sock.sendall(_POSTGRESQL_SSL_REQUEST)
    if sock.recv(5, socket.MSG_PEEK) in (b"S", b"N"):
        hint = "audit it as postgresql://"
        raise NotUnderstood("what answers there is PostgreSQL, not MySQL", stage="login", hint=hint)


def _logged_in(target: Target, host: Host, sock: socket.socket, attempt: Attempt) -> Wire:
    failure: TargetError
    try:
        wire = Wire(target, host, attempt)
        wire.connect(sock)
    except TargetError:
        sock.close()
        raise
    except pymysql.MySQLError as error:
        failure = failures.of_driver(error, attempt)
    except RuntimeError:
        failure = failures.of_package()
    except failures.GARBAGE as error:
        failure = NotUnderstood(f"the greeting makes no sense ({type(error).__name__})", stage="login")
    else:
        return wire
    sock.close()
    raise failure
