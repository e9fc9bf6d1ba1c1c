"""Networks and servers that misbehave, for real: a TCP proxy in front of a server, and what needs no proxy.

    with Proxy(server, Fault(Act.CUT, Stage.QUERY, after=500)) as proxy:
        connaudit("count", server.url(port=proxy.port))
    proxy.passages[0].statements

A proxy also counts: connections, round trips, bytes, and the statements that pass in clear.
"""

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from multiprocessing.connection import wait
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.servers import Running
from tests.wire import MysqlTalk, PostgresTalk

TICK = 0.05  # seconds within which a proxy notices that it is to end
DRIP_PERIOD = 1.0  # seconds between two bytes
SSL_REQUEST = struct.pack("!II", 8, 80877103)


class Act(Enum):
    """What a fault does."""

    HANG = auto()  # nothing passes any more, nothing is closed
    DRIP = auto()  # a byte a second passes from the server to the client
    CUT = auto()  # both sides are closed
    RESET = auto()  # the client gets a TCP reset


class Stage(Enum):
    """How far a connection must be before a fault acts."""

    CONNECT = auto()  # accepted
    GREETING = auto()  # the server's first bytes have passed
    TLS = auto()  # the client began a TLS handshake
    QUERY = auto()  # the client sent a statement, in clear


@dataclass(frozen=True, slots=True)
class Fault:
    """Acts when a stage is reached and the server then wants to send more than `after` bytes.

    At Stage.CONNECT, `after` is for dripping alone: the other acts come before the server behind is even asked.
    """

    act: Act
    once: Stage = Stage.CONNECT
    after: int = 0


@dataclass(slots=True)
class Passage:
    """What was seen of one connection through a proxy."""

    talk: PostgresTalk | MysqlTalk
    reached: set[Stage] = field(default_factory=lambda: {Stage.CONNECT})
    statements: list[str] = field(default_factory=list)
    sent: bytearray = field(default_factory=bytearray)  # all that the client sent
    received: int = 0  # bytes that the client got
    round_trips: int = 0  # how often the client spoke and then heard
    is_over: bool = False
    _awaits: bool = False

    def note_sent(self, chunk: bytes) -> list[str]:
        """Note what the client sends, and return the statements that it completes."""
        self.sent += chunk
        self._awaits = True
        found = self.talk.feed(chunk)
        self.statements += found
        if found:
            self.reached.add(Stage.QUERY)
        if self.talk.encrypted:
            self.reached.add(Stage.TLS)
        return found

    def note_received(self, chunk: bytes) -> None:
        """Note what the client got."""
        self.received += len(chunk)
        self.round_trips += self._awaits
        self._awaits = False
        self.reached.add(Stage.GREETING)


class Proxy:
    """Stands in front of a server, on a free port of 127.0.0.1, and may have a fault.

    `tls`: what to terminate TLS with, for a PostgreSQL without; the server behind is spoken to in clear.
    `on_statement` is called with each statement that the client has sent, before the server gets it.
    `rewrite` may change what the server says, chunk by chunk; lengths must stay.
    """

    def __init__(
        self,
        server: Running,
        fault: Fault | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        on_statement: Callable[[str], None] | None = None,
        rewrite: Callable[[bytes], bytes] | None = None,
    ) -> None:
        self.server, self.fault, self.tls, self.on_statement, self.rewrite = server, fault, tls, on_statement, rewrite
        self.passages: list[Passage] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(TICK)
        self.port: int = self._listener.getsockname()[1]
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            passage = Passage(PostgresTalk() if self.server.is_postgres else MysqlTalk())
            self.passages.append(passage)
            thread = threading.Thread(target=self._serve, args=(client, passage))
            thread.start()
            self._threads.append(thread)

    def _serve(self, client: socket.socket, passage: Passage) -> None:
        client.settimeout(10)
        try:
            with suppress(OSError):  # somebody went away, which is what some tests want
                if self.fault and self.fault.once is Stage.CONNECT and self.fault.act is not Act.DRIP:
                    self._act(client)
                else:
                    self._connect(client, passage)
        finally:
            client.close()
            passage.is_over = True

    def _connect(self, client: socket.socket, passage: Passage) -> None:
        if self.tls:
            client = self._agree_on_tls(client, self.tls)
        with client, socket.create_connection((self.server.host, self.server.port)) as server:
            _Carrier(self, passage, client, server).run()

    def _agree_on_tls(self, client: socket.socket, tls: ssl.SSLContext) -> socket.socket:
        if client.recv(8, socket.MSG_PEEK) != SSL_REQUEST:
            return client
        client.recv(8)
        client.sendall(b"S")
        if self.fault and self.fault.once is Stage.TLS:
            client.recv(1, socket.MSG_PEEK)  # the client has begun its handshake
            self._act(client)
            raise ConnectionAbortedError
        return tls.wrap_socket(client, server_side=True)

    def _act(self, client: socket.socket) -> bool:
        """Do what the fault does, except dripping; return whether the connection is over."""
        assert self.fault
        if self.fault.act is Act.HANG:
            self._ended.wait()
        elif self.fault.act is Act.RESET:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return self.fault.act is not Act.DRIP

    @property
    def has_ended(self) -> bool:
        """Whether its block was left."""
        return self._ended.is_set()


class _Carrier:
    """Carries bytes between one client and the server, until one of them, the fault or the proxy ends it."""

    def __init__(self, proxy: Proxy, passage: Passage, client: socket.socket, server: socket.socket) -> None:
        self.proxy, self.passage, self.client, self.server = proxy, passage, client, server
        self.spare: int | None = None  # bytes that the server may still send before the fault acts; None: no end yet
        self.drops: bytearray | None = None  # what waits to drip
        self.next_drop = 0.0

    def run(self) -> None:
        """Carry, until it is over."""
        while not self.proxy.has_ended:
            pending = isinstance(self.client, ssl.SSLSocket) and self.client.pending()
            ready = wait([self.client, self.server], 0 if pending else TICK)  # select() knows no number above 1023
            if (pending or self.client in ready) and not self._up():
                return
            if self.server in ready and not self._down():
                return
            self._drip()

    def _up(self) -> bool:
        chunk = self.client.recv(65536)
        statements = self.passage.note_sent(chunk)
        self._arm()
        for statement in statements if self.proxy.on_statement else ():
            self.proxy.on_statement(statement)  # type: ignore[misc]
        self.server.sendall(chunk)
        return bool(chunk)

    def _down(self) -> bool:
        chunk = self.server.recv(65536)
        if self.proxy.rewrite:
            chunk = self.proxy.rewrite(chunk)
        if self.drops is not None:
            self.drops += chunk
            return bool(chunk)
        self._arm()
        if self.spare is None or len(chunk) <= self.spare:
            self._deliver(chunk)
            return bool(chunk)
        allowed, rest = chunk[: self.spare], chunk[self.spare :]
        self._deliver(allowed)
        self.drops = bytearray(rest)
        self.next_drop = time.monotonic() + DRIP_PERIOD
        return not self.proxy._act(self.client)

    def _arm(self) -> None:
        fault = self.proxy.fault
        if fault and self.spare is None and fault.once in self.passage.reached:
            self.spare = fault.after

    def _deliver(self, chunk: bytes) -> None:
        if chunk:
            self.passage.note_received(chunk)  # before it is: who has read it may ask us at once
            self.client.sendall(chunk)
            if self.spare is not None:
                self.spare -= len(chunk)

    def _drip(self) -> None:
        if self.drops and time.monotonic() >= self.next_drop:
            self.client.sendall(self.drops[:1])
            del self.drops[:1]
            self.next_drop = time.monotonic() + DRIP_PERIOD


@contextmanager
def refused_port() -> Iterator[int]:
    """Hold a port of 127.0.0.1 on which nobody listens: a connection is refused at once."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


_DEAF_RESOLVER = """
import socket, time
known = socket.getaddrinfo
def getaddrinfo(host, *more, **named):
    numeric = named.get("flags", 0) & socket.AI_NUMERICHOST  # is read, and not asked of anybody
    if host in ({host!r}, {host!r}.encode()) and not numeric:
        time.sleep({seconds})
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    return known(host, *more, **named)
socket.getaddrinfo = getaddrinfo
"""


def deaf_resolver(place: Path, host: str, seconds: float) -> dict[str, str]:
    """Return variables under which a Python process waits so long for one host's address, and gets none.

    Name servers cannot be changed for one process without privileges; so it is Python's door to the resolver
    that hangs, as the C library does while its name servers are silent: in a call that nothing can interrupt.
    """
    (place / "sitecustomize.py").write_text(_DEAF_RESOLVER.format(host=host, seconds=seconds), encoding="utf-8")
    return {"PYTHONPATH": str(place)}
