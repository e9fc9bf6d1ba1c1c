"""The process at a session's other end, where that is on this host: from the socket to its owner.

By /proc alone, within `PATIENCE`: as root everything is told, as anybody else the processes of one's own. A socket that
several processes own was inherited through a fork. Where containers have network namespaces of their own, those are
searched as well, as far as they may be read.
"""

import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import field, replace
from ipaddress import ip_address
from pathlib import Path

from connaudit.attribution import Confidence
from connaudit.attribution.evidence import Client
from connaudit.attribution.sockets import Tcp, Unix, tcp, unix
from connaudit.dataclass import dataclass
from connaudit.snapshot import Address, Kind, Process, Session, Snapshot
from connaudit.sqltext import without_passwords

PATIENCE = 2.0  # seconds for the whole search
LONGEST_COMMAND = 300
_PROC = Path("/proc")
_LOOPBACK = ("127.0.0.1", "::1")
_TOLD_PROCESS = "_pid"  # by which MySQL's client libraries give their process number at login


@dataclass(frozen=True, slots=True)
class Found:
    """The client's end of a connection, and all such ends to the same server."""

    words: str
    inode: int
    to_server: frozenset[int]  # inodes
    uid: int | None = None


@dataclass(slots=True)
class Owners:
    """Who owns which of the wanted sockets; `unread` counts processes whose files may not be seen."""

    inodes: dict[int, set[int]] = field(default_factory=dict)  # by process
    unread: int = 0
    complete: bool = True  # False: time ran out


def client_of(session: Session, address: Address) -> Client:
    """Return the client of a session on the server at `address`, or why it was not found."""
    if not _PROC.joinpath("self/fd").exists():
        return Client(why_not="clients are only found on Linux")
    if session.kind in (Kind.INTERNAL, Kind.JOB):
        return Client(why_not="it is work of the server's own")
    if session.client is None:
        return Client(why_not="the server does not tell where the client is")
    until = time.monotonic() + PATIENCE
    if session.client == "local":
        return _of_unix(session, address, until)
    if session.client_port is None:
        return Client(why_not="the server does not tell the client's port")
    found = next((found for _, found in _tcp_ends((session,), address, until)), None)
    if found is None:
        return Client(why_not=f"no connection of this host is {session.client}:{session.client_port}: run this there")
    return _owned(found, until)


def with_processes(snapshot: Snapshot) -> Snapshot:
    """Return the snapshot with the processes of this host at its clients' ends: those that `PATIENCE` suffices for."""
    if not _PROC.joinpath("self/fd").exists():
        return snapshot
    until = time.monotonic() + PATIENCE
    by_path = [s for s in snapshot.clients if s.client == "local"]
    sockets = unix() if by_path else {}
    ends = dict(_tcp_ends(snapshot.clients, snapshot.address, until))
    ends |= {s.id: end for s in by_path if (end := _unix_found(s, snapshot.address, sockets))}
    found = _owners_of(ends, until)
    for session in by_path:
        if session.id not in ends and (client := _told(session, snapshot.address, sockets)):
            found[session.id] = client.processes
    sessions = (replace(s, processes=found[s.id]) if found.get(s.id) else s for s in snapshot.sessions)
    return replace(snapshot, sessions=tuple(sessions))


def _owners_of(ends: Mapping[int, Found], until: float) -> dict[int, tuple[Process, ...]]:
    """Return the processes that own each of these ends, looked for in one pass."""
    wanted = frozenset[int]().union(*(end.to_server | {end.inode} for end in ends.values()))
    owners = _owners(wanted, until) if wanted else Owners()
    processes = {pid: process for pid, held in owners.inodes.items() if (process := _process(pid, len(held)))}
    holders: dict[int, list[Process]] = {}
    for pid in sorted(processes):
        for inode in owners.inodes[pid]:
            holders.setdefault(inode, []).append(processes[pid])
    return {session: tuple(holders.get(end.inode, ())) for session, end in ends.items()}


def _tcp_ends(sessions: Iterable[Session], address: Address, until: float) -> Iterator[tuple[int, Found]]:
    """Yield the client's ends of those sessions that have one in a network namespace that may be read."""
    left = {s.id: s for s in sessions if s.client not in (None, "local") and s.client_port is not None}
    for net in _namespaces(until) if left else ():
        by_port: dict[int, list[Tcp]] = {}
        to_server: dict[tuple[str, int], set[int]] = {}
        for each in tcp(net):
            by_port.setdefault(each.local[1], []).append(each)
            to_server.setdefault(_server(each), set()).add(each.inode)
        for session in tuple(left.values()):
            end = _end_of(session, by_port.get(session.client_port or 0, ()), address)
            if end:
                del left[session.id]
                yield session.id, Found(str(end), end.inode, frozenset(to_server[_server(end)]), end.uid)
        if not left:
            return


def _end_of(session: Session, with_port: Sequence[Tcp], address: Address) -> Tcp | None:
    """Return the one socket that is a session's client's end, among those with the client's port."""
    own = [each for each in with_port if _is_client(each, session)]
    direct = [each for each in own if each.remote[1] == address.port]
    chosen = direct or own
    return chosen[0] if len(chosen) == 1 else None  # else the server's port was mapped on the way


def _server(end: Tcp) -> tuple[str, int]:
    """Return whom a socket is connected with; this host is one, by whichever of its own addresses."""
    host, port = end.remote
    return ("loopback" if host in _LOOPBACK else host), port


def _is_client(end: Tcp, session: Session) -> bool:
    """Return whether a socket's own address is what the server calls its client: an address, or this host's name."""
    told = session.client or ""
    try:
        return ip_address(told) == ip_address(end.local[0])
    except ValueError:
        host = socket.gethostname()
        named = told == host or told.startswith(f"{host}.")
        return named or (told == "localhost" and end.local[0] in _LOOPBACK)


def _namespaces(until: float) -> Iterator[Path]:
    """Yield the network tables of our own namespace, then of each other one that may be read."""
    yield _PROC / "self/net"
    with suppress(OSError):
        seen = {os.readlink(_PROC / "self/ns/net")}
        for pid in _pids():
            if time.monotonic() > until:
                return
            with suppress(OSError):
                namespace = os.readlink(_PROC / str(pid) / "ns/net")
                if namespace not in seen:
                    seen.add(namespace)
                    yield _PROC / str(pid) / "net"


def _of_unix(session: Session, address: Address, until: float) -> Client:
    """Return the client of a Unix socket: PostgreSQL's backend owns the other end, MySQL's clients say who they are."""
    sockets = unix()
    found = _unix_found(session, address, sockets)
    if found is None:
        why = "it came by a Unix socket, whose ends only root, or the server's own user, can see on its host"
        return _told(session, address, sockets) or Client(why_not=why)
    return _owned(found, until)


def _unix_found(session: Session, address: Address, sockets: Mapping[int, Unix]) -> Found | None:
    end = _unix_end(session.id, sockets, address.port)
    if end is None:
        return None
    path, peer = end
    to_server = frozenset(inode for inode, each in sockets.items() if _peer_path(each, sockets) == path)
    return Found(f"Unix socket {path}", peer, to_server)


def _unix_end(backend: int, sockets: Mapping[int, Unix], port: int | None) -> tuple[str, int] | None:
    """Return path and client's inode of the Unix socket that a backend of PostgreSQL owns."""
    ending = f".s.PGSQL.{port}" if port else ".s.PGSQL."
    with suppress(OSError):
        for inode in _inodes(backend):
            each = sockets.get(inode)
            if each and each.path and each.peer and ending in each.path:
                return each.path, each.peer
    return None


def _peer_path(each: Unix, sockets: Mapping[int, Unix]) -> str | None:
    other = sockets.get(each.peer or 0)
    return other.path if other else None


def _told(session: Session, address: Address, sockets: Mapping[int, Unix]) -> Client | None:
    """Return the process that the client gave at login, if it is on this host and has a Unix socket to the server."""
    number = dict(session.attributes).get(_TOLD_PROCESS, "")
    if not number.isdigit():
        return None
    paths = {inode: _peer_path(each, sockets) or "" for inode, each in sockets.items()}
    connected = {inode for inode, path in paths.items() if path == address.host or "mysql" in path or "maria" in path}
    with suppress(OSError):
        held = connected & set(_inodes(int(number)))
        process = _process(int(number), len(held)) if held else None
        return Client((process,), Confidence.PROCESS_TOLD) if process else None
    return None


def _owned(found: Found, until: float) -> Client:
    owners = _owners(found.to_server | {found.inode}, until)
    holders = sorted(pid for pid, inodes in owners.inodes.items() if found.inode in inodes)
    described = (_process(pid, len(owners.inodes[pid])) for pid in holders)
    processes = tuple(process for process in described if process)
    if processes:
        return Client(processes, Confidence.PROCESS, found.words)
    return Client(socket=found.words, why_not=_why_nobody(found, owners))


def _why_nobody(found: Found, owners: Owners) -> str:
    if not owners.complete:
        return f"nobody was found to own it within {PATIENCE:.0f}s"
    if owners.unread:
        whose = f" of user {_user(found.uid)}" if found.uid is not None else ""
        return f"a process{whose} on this host owns it; run connaudit as that user or as root to see which one"
    return "nobody owns it any more, or a process in another container does"


def _owners(wanted: frozenset[int], until: float) -> Owners:
    """Go through the open files of every process once."""
    owners = Owners()
    for pid in _pids():
        if time.monotonic() > until:
            owners.complete = False
            break
        try:
            held = set(_inodes(pid)) & wanted
        except PermissionError:
            owners.unread += 1
        except OSError:  # it ended meanwhile
            continue
        else:
            if held:
                owners.inodes[pid] = held
    return owners


def _pids() -> Iterable[int]:
    return sorted(int(name) for name in os.listdir(_PROC) if name.isdigit())


def _inodes(pid: int) -> Iterator[int]:
    """Yield the inodes of a process's sockets; OSError if it may not be looked at, or is gone."""
    directory = f"/proc/{pid}/fd"
    for name in os.listdir(directory):
        with suppress(FileNotFoundError):
            target = os.readlink(f"{directory}/{name}")
            if target.startswith("socket:["):
                yield int(target[8:-1])


def _process(pid: int, connections: int) -> Process | None:
    """Return what is told of a process; None if it has ended meanwhile."""
    place = _PROC / str(pid)
    status = dict(_status(place))
    if not status:
        return None
    uid = status.get("Uid", "").split()
    return Process(
        pid=pid,
        name=status.get("Name", ""),
        command=_command(place),
        user=_user(int(uid[0])) if uid else None,
        parent=_number(status.get("PPid")),
        threads=_number(status.get("Threads")),
        connections=connections,
        container=_container(place),
    )


def _status(place: Path) -> Iterator[tuple[str, str]]:
    with suppress(OSError):
        for line in (place / "status").read_text(errors="backslashreplace").splitlines():
            key, _, value = line.partition(":")
            yield key, value.strip()


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None


def _command(place: Path) -> str | None:
    """Return the command line, or the title that the process has given itself; cut if it is long."""
    with suppress(OSError):
        words = (place / "cmdline").read_bytes().rstrip(b"\0 ").decode(errors="backslashreplace").split("\0")
        text = without_passwords(" ".join(words))
        return (text if len(text) <= LONGEST_COMMAND else text[:LONGEST_COMMAND] + "...") or None
    return None


def _user(uid: int | None) -> str | None:
    import pwd

    if uid is None:
        return None
    with suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return str(uid)


def _container(place: Path) -> str | None:
    """Return the short id of a process's container, from its control group; None if it is in none."""
    import re

    with suppress(OSError):
        found = re.search(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])", (place / "cgroup").read_text())
        return found[0][:12] if found else None
    return None
