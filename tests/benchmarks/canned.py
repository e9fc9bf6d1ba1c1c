"""Many servers out of one recording: each answers as a real one did, after the delay of a network.

A recording is what the server said before the client spoke, and then after each of its messages. The servers live in
one process of their own (this file as a program), which ends with whoever started it.
"""

import asyncio
import base64
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

Answers = list[bytes]
PATIENCE = 20.0  # seconds


class Messages:
    """Cuts what a client sends into its messages, as far as counting them needs."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._unread = b""
        self._started = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the first byte of each message that is complete with this chunk; none before the login."""
        self._unread += chunk
        while len(self._unread) >= 5:
            typed, length = self._head()
            if len(self._unread) < length:
                return
            message, self._unread = self._unread[:length], self._unread[length:]
            yield message[typed : typed + 1] if typed else b""

    def _head(self) -> tuple[int, int]:
        """Return where the type of the next message stands, 0 for nowhere, and how long it is."""
        if self._kind == "mysql":
            return 4, 4 + int.from_bytes(self._unread[:3], "little")
        if self._started:
            return 0, 1 + int.from_bytes(self._unread[1:5], "big")
        length = int.from_bytes(self._unread[:4], "big")
        self._started = length != 8  # not a request for encryption
        return 0, length


def recorded(kind: str, address: tuple[str, int] | str, talk: Callable[[int], None]) -> Answers:
    """Return what a server answers to a client that `talk` brings to the port given to it."""
    answers = [b""]
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listener.settimeout(PATIENCE)  # a client that fails may never come
        client = stack.enter_context(ThreadPoolExecutor(1)).submit(talk, listener.getsockname()[1])
        ours = stack.enter_context(listener.accept()[0])
        theirs = stack.enter_context(socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET))
        theirs.connect(address)
        back = threading.Thread(target=_carry_back, args=(theirs, ours, answers))
        back.start()
        messages = Messages(kind)
        while chunk := ours.recv(65536):
            answers += [b"" for _ in messages.feed(chunk)]
            theirs.sendall(chunk)
        theirs.shutdown(socket.SHUT_WR)
        back.join()
        client.result()
    return [answer for place, answer in enumerate(answers) if answer or place == 0]


def _carry_back(theirs: socket.socket, ours: socket.socket, answers: Answers) -> None:
    with suppress(OSError):
        while chunk := theirs.recv(65536):
            answers[-1] += chunk
            ours.sendall(chunk)


class _Replay(asyncio.Protocol):
    """One connection: the next answer for each message, after the delay."""

    def __init__(self, kind: str, answers: Answers, delay: float) -> None:
        self._messages = Messages(kind)
        self._left = iter(answers)
        self._delay = delay
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._answer()

    def data_received(self, data: bytes) -> None:
        for _ in self._messages.feed(data):
            self._answer()

    def _answer(self) -> None:
        answer = next(self._left, None)
        if answer:
            asyncio.get_running_loop().call_later(self._delay, self._transport.write, answer)


async def _serve(job: dict[str, Any]) -> None:
    answers = [base64.b64decode(answer) for answer in job["answers"]]
    server = await asyncio.get_running_loop().create_server(
        lambda: _Replay(job["kind"], answers, job["delay"]), "127.0.0.1", 0, backlog=4096
    )
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    server.close()


@contextmanager
def replaying(kind: str, answers: Answers, delay: float) -> Iterator[int]:
    """Answer from a recording, on the port that is returned."""
    job = {"kind": kind, "delay": delay, "answers": [base64.b64encode(answer).decode() for answer in answers]}
    process = subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="ascii"
    )
    assert process.stdin
    assert process.stdout
    try:
        process.stdin.write(json.dumps(job) + "\n")
        process.stdin.flush()
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


@contextmanager
def silent() -> Iterator[int]:
    """Take connections on a port, by the kernel alone, and say nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
        yield listener.getsockname()[1]


@contextmanager
def dropped() -> Iterator[int]:
    """Hold a port that answers to no packet: the queue of those who want to connect is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(8):
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            with suppress(BlockingIOError):
                one.connect(listener.getsockname())
        yield listener.getsockname()[1]


if __name__ == "__main__":
    asyncio.run(_serve(json.loads(sys.stdin.readline())))
