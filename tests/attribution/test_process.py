"""Who is at the other end of a session: real processes, found by their sockets."""

import os
import socket
import subprocess
import sys
from dataclasses import replace

import pytest

from connaudit.attribution import Confidence
from connaudit.attribution.process import client_of
from connaudit.attribution.sockets import tcp, unix
from connaudit.snapshot import Address, Kind
from tests.attribution.conftest import Hold, seen, session_of
from tests.builders import ADDRESS, session
from tests.servers import Running


def inode(of: socket.socket) -> int:
    return os.fstat(of.fileno()).st_ino


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_the_kernel_lists_both_ends_of_a_connection(family: socket.AddressFamily) -> None:
    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    with (
        socket.create_server((host, 0), family=family) as server,
        socket.create_connection(server.getsockname()[:2]) as client,
    ):
        found = {each.inode: each for each in tcp()}[inode(client)]
        assert found.local == client.getsockname()[:2]
        assert found.remote == server.getsockname()[:2]
        assert found.uid == os.getuid()


def test_the_kernel_tells_the_other_end_of_a_unix_socket(tmp_path: object) -> None:
    path = f"{tmp_path}/s"
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(path)
        server.listen()
        client.connect(path)
        accepted, _ = server.accept()
        with accepted:
            ends = unix()
            assert ends[inode(client)].peer == inode(accepted)
            assert ends[inode(accepted)].path == path


def test_a_client_by_tcp_is_found(server: Running, hold: Hold) -> None:
    holder = hold(server, "one")
    taken = seen(server)
    client = client_of(session_of(taken, holder.ids[0]), taken.address)
    assert client.confidence is Confidence.PROCESS
    (process,) = client.processes
    assert (process.pid, process.connections, process.parent) == (holder.pid, 1, os.getpid())
    assert "holder.py one" in (process.command or "")
    assert "app-s3cr3t" not in repr(client)
    assert client.socket
    assert client.socket.endswith(f"-> 127.0.0.1:{server.port}")


def test_a_client_by_unix_socket_is_found(postgres: Running, hold: Hold) -> None:
    holder = hold(postgres, "one", host=postgres.socket)
    taken = seen(postgres)
    client = client_of(session_of(taken, holder.ids[0]), taken.address)
    assert [process.pid for process in client.processes] == [holder.pid]
    assert client.processes[0].connections == 1
    assert client.socket == f"Unix socket {postgres.socket}/.s.PGSQL.{postgres.port}"


def test_what_the_server_does_of_its_own_has_no_client() -> None:
    for kind in (Kind.INTERNAL, Kind.JOB):
        assert client_of(session(kind=kind), ADDRESS).why_not == "it is work of the server's own"


def test_a_client_of_mysql_by_unix_socket_says_who_it_is(mysql: Running, hold: Hold) -> None:
    holder = hold(mysql, "one", unix_socket=mysql.socket)
    taken = seen(mysql)
    found = session_of(taken, holder.ids[0])
    client = client_of(found, taken.address)
    if not found.attributes:  # performance_schema is off
        assert "Unix socket" in (client.why_not or "")
    else:
        assert client.confidence is Confidence.PROCESS_TOLD
        assert [process.pid for process in client.processes] == [holder.pid]


def test_a_password_on_a_command_line_is_not_repeated() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        words = ["-c", "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); s.recv(1)"]
        more = [str(server.getsockname()[1]), "--password=hunter2", "postgresql://app:hunter2@db/shop"]
        with subprocess.Popen([sys.executable, *words, *more]) as process:
            accepted, (_, port) = server.accept()
            here = session(client="127.0.0.1", client_port=port)
            (found,) = client_of(here, Address("127.0.0.1", server.getsockname()[1], None, None)).processes
            accepted.close()
    assert found.pid == process.pid
    assert "hunter2" not in (found.command or "")
    assert "db/shop" in (found.command or "")


def test_more_connections_than_threads_are_counted(server: Running, hold: Hold) -> None:
    holder = hold(server, "many")
    taken = seen(server)
    (process,) = client_of(session_of(taken, holder.ids[3]), taken.address).processes
    assert (process.connections, process.threads, process.holds_too_many) == (6, 1, True)


def test_a_connection_that_was_inherited_has_two_owners(postgres: Running, hold: Hold) -> None:
    holder = hold(postgres, "forked")
    taken = seen(postgres)
    client = client_of(session_of(taken, holder.ids[0]), taken.address)
    assert client.is_shared
    assert {process.pid for process in client.processes} == {holder.pid, holder.told["child"]}


def test_a_client_elsewhere_is_not_claimed() -> None:
    client = client_of(session(client="10.4.1.17", client_port=40122), ADDRESS)
    assert client.processes == ()
    assert client.confidence is None
    assert "run this there" in (client.why_not or "")


def test_the_right_port_at_another_address_is_no_match() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        port = client.getsockname()[1]
        address = Address("127.0.0.1", server.getsockname()[1], None, None)
        here = session(client="127.0.0.1", client_port=port)
        assert client_of(here, address).processes[0].pid == os.getpid()
        assert client_of(replace(here, client="10.4.1.17"), address).processes == ()
        assert client_of(replace(here, client="localhost"), address).processes[0].pid == os.getpid()
        assert client_of(replace(here, client="web-1.example.net"), address).processes == ()


@pytest.mark.parametrize(("client", "port"), [(None, None), ("10.4.1.17", None)])
def test_what_the_server_keeps_is_said(client: str | None, port: int | None) -> None:
    assert "does not tell" in (client_of(session(client=client, client_port=port), ADDRESS).why_not or "")


AS_NOBODY = """
import os, pwd, re, sys
from connaudit.attribution.process import client_of
from connaudit.snapshot import Address, Session
port, server = map(int, sys.argv[1:])
os.setgid(65534)
os.setuid(65534)
found = client_of(Session(1, client="127.0.0.1", client_port=port), Address("h", server, None, None))
print(found.processes, found.why_not)
"""


def test_somebody_elses_process_is_told_by_its_user_where_we_may_not_look() -> None:
    if os.getuid():
        pytest.skip("only root can become somebody else")
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        words = [str(each.getsockname()[1]) for each in (client, server)]
        done = subprocess.run([sys.executable, "-c", AS_NOBODY, *words], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("() a process of user root on this host owns it")
