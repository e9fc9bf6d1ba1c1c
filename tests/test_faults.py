"""The faults that other tests rely on."""

import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import pytest

from tests.certificates import Authority
from tests.conftest import Start
from tests.faults import Act, Fault, Proxy, Stage, deaf_resolver, refused_port
from tests.servers import Client, Running

ENDED = (psycopg.OperationalError, pymysql.err.OperationalError)
MANY_ROWS = {True: "select repeat('x', 1000) from generate_series(1, 1000)", False: "select repeat('x', 1000000)"}


def through(proxy: Proxy, **keywords: Any) -> Client:
    clear: dict[str, Any] = {"sslmode": "disable"} if proxy.server.is_postgres else {"ssl_disabled": True}
    return proxy.server.connect(port=proxy.port, **clear | keywords)


def test_a_proxy_without_fault_passes_all_and_counts(server: Running) -> None:
    with Proxy(server) as proxy:
        client = through(proxy)
        before = proxy.passages[0].round_trips
        assert client.do("select 40 + 2") == [(42,)]
        client.close()
    (passage,) = proxy.passages
    assert passage.statements[-1] == "select 40 + 2"
    assert passage.round_trips == before + 1
    assert passage.received > 100


def test_cut_and_reset_in_the_middle_of_rows(server: Running) -> None:
    for act in (Act.CUT, Act.RESET):
        with Proxy(server, Fault(act, Stage.QUERY, after=5000)) as proxy:
            client = through(proxy)
            with pytest.raises(ENDED):
                client.do(MANY_ROWS[server.is_postgres])
            client.close()
        assert proxy.passages[0].received < 7000


def test_a_deaf_server_accepts_and_says_nothing(server: Running) -> None:
    with (
        Proxy(server, Fault(Act.HANG)) as proxy,
        socket.create_connection(("127.0.0.1", proxy.port), 0.3) as client,
        pytest.raises(TimeoutError),
    ):
        client.recv(1)


def test_a_dripping_server_sends_a_byte_a_second(mariadb: Running) -> None:
    with (
        Proxy(mariadb, Fault(Act.DRIP, Stage.CONNECT, after=4)) as proxy,
        socket.create_connection(("127.0.0.1", proxy.port), 5) as client,
    ):
        assert len(client.recv(100)) == 4
        assert len(client.recv(100)) == 1
        began = time.monotonic()
        assert len(client.recv(100)) == 1
        assert 0.8 < time.monotonic() - began < 3


def test_a_greeting_may_be_the_last_word(mariadb: Running) -> None:
    with Proxy(mariadb, Fault(Act.HANG, Stage.GREETING)) as proxy, pytest.raises(ENDED):
        through(proxy, read_timeout=0.3)
    assert proxy.passages[0].received > 50


def test_tls_can_be_cut_in_its_handshake(mariadb: Running, start: Start, authority: Authority) -> None:
    certificate, key = authority.issue("localhost")
    own = start(mariadb, ssl_cert=str(certificate), ssl_key=str(key), ssl_ca=str(authority.certificate))
    verified: dict[str, Any] = {"host": "localhost", "ssl": {"ca": str(authority.certificate)}}
    with own.session(own.app, **verified) as client:
        assert client.do("show status like 'Ssl_version'")[0][1].startswith("TLS")
    with Proxy(own, Fault(Act.CUT, Stage.TLS)) as proxy, pytest.raises(ENDED):
        own.connect(port=proxy.port, **verified)
    assert Stage.TLS in proxy.passages[0].reached


def test_a_proxy_gives_a_postgres_tls(postgres: Running, authority: Authority) -> None:
    verified = {"sslmode": "verify-full", "sslrootcert": str(authority.certificate), "host": "localhost"}
    with Proxy(postgres, tls=authority.server_side("localhost")) as proxy:
        with postgres.session(postgres.app, port=proxy.port, **verified) as client:
            assert client.driver.pgconn.ssl_in_use
            assert client.do("select 1") == [(1,)]
        proxy.tls = authority.server_side("somewhere.else")
        with pytest.raises(psycopg.OperationalError, match="does not match"):
            postgres.connect(postgres.app, port=proxy.port, **verified)


def test_something_can_be_done_when_a_statement_passes(server: Running) -> None:
    seen: list[str] = []
    with Proxy(server, on_statement=seen.append) as proxy:
        client = through(proxy)
        client.do("select 1")
        client.close()
    assert seen[-1] == "select 1"


def test_what_a_server_says_can_be_changed(server: Running) -> None:
    with Proxy(server, rewrite=lambda said: said.replace(b"truth", b"rumor")) as proxy:
        client = through(proxy)
        assert client.do("select 'truth'") == [("rumor",)]
        client.close()


def test_a_refused_port_refuses() -> None:
    with refused_port() as port, pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 1)


def test_a_deaf_resolver_keeps_one_name_waiting(tmp_path: Path) -> None:
    ask = "import socket, sys, time; b = time.monotonic()\ntry: socket.getaddrinfo(sys.argv[1], 1)\n"
    ask += "except socket.gaierror: print(time.monotonic() - b)"
    env = deaf_resolver(tmp_path, "db.example", 0.5)
    words = [sys.executable, "-c", ask, "db.example"]
    waited = subprocess.run(words, env=env, capture_output=True, text=True, check=True).stdout
    assert float(waited) >= 0.5
