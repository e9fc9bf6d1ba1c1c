"""The sockets of this host, as Linux lists them: who is connected to whom, by the numbers of their inodes."""

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from connaudit.dataclass import dataclass

ESTABLISHED = "01"
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_REQUEST_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_SHOW_NAME_AND_PEER = 0x1 | 0x4
_ALL_STATES = 0xFFFFFFFF
_NAME, _PEER = 0, 2
_DONE, _ERROR = 3, 2
_PATIENCE = 1.0  # seconds for the kernel's answer


@dataclass(frozen=True, slots=True)
class Tcp:
    """One end of a TCP connection."""

    local: tuple[str, int]
    remote: tuple[str, int]
    inode: int
    uid: int  # who opened it

    def __str__(self) -> str:
        (here, port), (there, remote_port) = self.local, self.remote
        return f"{here}:{port} -> {there}:{remote_port}"


def tcp(net: Path = Path("/proc/net")) -> Iterator[Tcp]:
    """Yield the established connections of a network namespace; nothing where they may not be read."""
    for name in ("tcp", "tcp6"):
        with suppress(OSError), (net / name).open() as table:
            next(table, None)
            for line in table:
                cells = line.split()
                if len(cells) > 9 and cells[3] == ESTABLISHED and cells[9] != "0":
                    yield Tcp(_end(cells[1]), _end(cells[2]), int(cells[9]), int(cells[7]))


def _end(text: str) -> tuple[str, int]:
    """Return address and port of 0100007F:1538; the kernel writes words of 32 bits in this machine's own order.

    >>> _end("00000000000000000000000001000000:1538") if struct.pack("=I", 1)[0] else ("::1", 5432)
    ('::1', 5432)
    """
    address, _, port = text.partition(":")
    packed = b"".join(struct.pack("=I", int(address[at : at + 8], 16)) for at in range(0, len(address), 8))
    if len(packed) == 4:
        return str(IPv4Address(packed)), int(port, 16)
    whole = IPv6Address(packed)
    return str(whole.ipv4_mapped or whole), int(port, 16)


@dataclass(frozen=True, slots=True)
class Unix:
    """One end of a Unix socket: its path, if it has one (a server's has), and the inode of the other end."""

    path: str | None
    peer: int | None


def unix() -> dict[int, Unix]:
    """Return the Unix sockets by inode, as the kernel's socket diagnosis tells everybody; empty where it does not."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as asked:
            asked.settimeout(_PATIENCE)
            request = struct.pack(
                "=BBHIIIII", socket.AF_UNIX, 0, 0, _ALL_STATES, 0, _SHOW_NAME_AND_PEER, 0xFFFFFFFF, 0xFFFFFFFF
            )
            header = struct.pack("=IHHII", 16 + len(request), _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 1, 0)
            asked.send(header + request)
            return dict(_answers(asked))
    except (AttributeError, OSError):  # no Linux; or not allowed, as in some sandboxes
        return {}


def _answers(asked: socket.socket) -> Iterator[tuple[int, Unix]]:
    while True:
        block = asked.recv(1 << 16)
        at = 0
        while at + 16 <= len(block):
            length, kind = struct.unpack_from("=IH", block, at)
            if kind in (_DONE, _ERROR) or length < 16:
                return
            yield _unix(block[at + 16 : at + length])
            at += (length + 3) & ~3


def _unix(message: bytes) -> tuple[int, Unix]:
    """Return inode and socket of one unix_diag_msg with its attributes."""
    (inode,) = struct.unpack_from("=I", message, 4)
    path, peer = None, None
    at = 16
    while at + 4 <= len(message):
        length, kind = struct.unpack_from("=HH", message, at)
        if length < 4:
            break
        value = message[at + 4 : at + length]
        if kind == _NAME:
            path = os.fsdecode(value.rstrip(b"\0").replace(b"\0", b"@", 1))
        elif kind == _PEER:
            (peer,) = struct.unpack_from("=I", value)
        at += (length + 3) & ~3
    return inode, Unix(path, peer)
