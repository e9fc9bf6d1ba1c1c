"""Why a MySQL or MariaDB server could not be audited: said in our words, without a secret, and in time."""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from connaudit.errors import (
    LoginRefused,
    NameUnknown,
    NoDatabase,
    NoSlotsLeft,
    NotUnderstood,
    Refused,
    TimedOut,
    TlsFailed,
)
from connaudit.targets import Host, Secret, Target
from tests.certificates import Authority
from tests.engines.mysql import HERE, failure, snapshot, target
from tests.faults import Act, Fault, Proxy, Stage, refused_port
from tests.servers import Role, Running, until

Start = Callable[..., Running]
CLEAR = {"ssl_mode": "DISABLED"}


def test_a_wrong_password_is_a_refused_login(mysql_any: Running) -> None:
    error = failure(replace(target(mysql_any), password=Secret("wr0ng")))
    assert isinstance(error, LoginRefused)
    assert error.stage == "login"
    assert "monitor" in str(error)


def test_no_failure_carries_a_secret_or_the_drivers_exception(mysql_any: Running) -> None:
    for one in (
        replace(target(mysql_any), password=Secret("wr0ng-s3cr3t")),
        replace(target(mysql_any, mysql_any.app), database="nowhere"),
        target(mysql_any, None, Host(HERE, 1)),
    ):
        error = failure(one)
        assert "s3cr3t" not in f"{error!r} {error} {error.hint}"
        assert (error.__context__, error.__cause__, error.__traceback__) == (None, None, None)


def test_a_database_that_is_not_there(mysql_any: Running) -> None:
    assert isinstance(failure(replace(target(mysql_any, mysql_any.superuser), database="nowhere")), NoDatabase)


def test_nobody_listens() -> None:
    with refused_port() as port:
        error = failure(Target("x", "mysql", (Host(HERE, port),)))
    assert isinstance(error, Refused)
    assert str(error) == f"nobody listens on {HERE}:{port}"


def test_no_such_name_or_socket() -> None:
    for host in ("nowhere.invalid", "a" * 64 + ".example"):
        error = failure(Target("x", "mysql", (Host(host, 3306),)))
        assert isinstance(error, NameUnknown)
        assert error.stage == "dns"
    assert isinstance(failure(Target("x", "mysql", (Host("/nowhere/mysql.sock"),))), Refused)


def test_hosts_are_tried_in_turn(mysql_any: Running) -> None:
    here = Host(mysql_any.host, mysql_any.port)
    with refused_port() as port, socket.create_server((HERE, 0)) as deaf:
        silent = Host(HERE, deaf.getsockname()[1])
        taken = snapshot(target(mysql_any, None, Host("nowhere.invalid"), Host(HERE, port), silent, here))
    assert taken.address.port == mysql_any.port


def test_a_stopped_server_costs_the_timeout_and_no_more(mysql_any: Running) -> None:
    with mysql_any.paused():
        began = time.monotonic()
        error = failure(target(mysql_any), timeout=1)
    assert 0.9 < time.monotonic() - began < 3
    assert isinstance(error, TimedOut)
    assert str(error) == "timed out after 1.0s during login"


@pytest.mark.parametrize(
    ("fault", "stage"),
    [
        (Fault(Act.DRIP, Stage.CONNECT), "login"),
        (Fault(Act.HANG, Stage.QUERY), "query"),
        (Fault(Act.DRIP, Stage.QUERY, after=300), "query"),
    ],
)
def test_every_stage_is_bounded(mariadb: Running, fault: Fault, stage: str) -> None:
    with Proxy(mariadb, fault) as proxy:
        began = time.monotonic()
        error = failure(target(mariadb, None, Host(HERE, proxy.port), **CLEAR), timeout=1)
        assert time.monotonic() - began < 3
    assert isinstance(error, TimedOut)
    assert error.stage == stage


def test_a_connection_that_breaks_is_no_empty_answer(mariadb: Running) -> None:
    with Proxy(mariadb, Fault(Act.CUT, Stage.QUERY, after=300)) as proxy:
        error = failure(target(mariadb, None, Host(HERE, proxy.port), **CLEAR))
    assert error.kind == "query"
    assert error.stage == "query"


def test_postgresql_on_the_other_end_is_recognized_in_time(postgres: Running) -> None:
    error = failure(Target("x", "mysql", (Host(postgres.host, postgres.port),)), timeout=1)
    assert isinstance(error, NotUnderstood)
    assert "PostgreSQL" in str(error)


@contextmanager
def saying(*answers: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """Serve one connection on a port: say these, each but the first after having heard something."""
    heard: list[bytes] = []
    with socket.create_server((HERE, 0)) as listener:

        def serve() -> None:
            client, _ = listener.accept()
            with client, suppress(ConnectionResetError):  # some hang up without having read it all
                client.settimeout(5)
                for answer in answers:
                    client.sendall(answer)
                    heard.append(client.recv(1000))

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1], heard
        thread.join()


def packet(number: int, body: bytes) -> bytes:
    return struct.pack("<I", len(body))[:3] + bytes([number]) + body


@pytest.mark.parametrize(
    "words", [b"SSH-2.0-OpenSSH_9.9\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", packet(0, b"\x0a8.0"), b"\x01"]
)
def test_another_protocol_is_not_understood(words: bytes) -> None:
    with saying(words) as (port, _):
        error = failure(Target("x", "mysql", (Host(HERE, port),)), timeout=1)
    assert isinstance(error, NotUnderstood | TimedOut)
    assert isinstance(error, TimedOut) == (len(words) == 1)


def test_a_password_is_never_sent_in_clear() -> None:
    greeting = b"\x0a8.4.0\0" + bytes(4) + b"12345678\0" + b"\x00\xa2" + b"\x21\x02\x00" + b"\x08\x00" + b"\x15"
    greeting = packet(0, greeting + bytes(10) + b"123456789012\0mysql_native_password\0")
    switch = packet(2, b"\xfemysql_clear_password\0")
    with saying(greeting, switch) as (port, heard):
        error = failure(Target("x", "mysql", (Host(HERE, port),), "root", password=Secret("hunter2-s3cr3t")))
    assert isinstance(error, LoginRefused)
    assert "clear text" in str(error)
    assert b"s3cr3t" not in b"".join(heard)


def test_a_full_server_is_the_finding(mariadb: Running, start: Start) -> None:
    full = start(mariadb, max_connections=10)
    with ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(full.session())
        error = failure(target(full))
        spare = snapshot(target(full, full.superuser))
    assert isinstance(error, NoSlotsLeft)
    assert (error.limit, error.stage) == ("server", "login")
    assert "extra_port" in str(error.hint)
    assert (spare.capacity.limit, spare.capacity.used, spare.capacity.extra_superuser) == (10, 11, 1)


def test_sessions_by_the_extra_port_are_no_riddle(mariadb: Running, start: Start) -> None:
    with socket.create_server((HERE, 0)) as free:
        port = free.getsockname()[1]
    full = start(mariadb, max_connections=10, extra_port=port, extra_max_connections=2)
    with ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(full.session())
        taken = snapshot(target(full, None, Host(HERE, port)))
    assert taken.capacity.used == 11  # we are one of them, by the other door
    assert "extra_port" in taken.server.features


def test_a_full_account_is_named_as_such(mysql_any: Running) -> None:
    narrow = Role("narrow", "narrow-s3cr3t")
    mysql_any.ask(f"create user narrow@'%' identified by '{narrow.password}' with max_user_connections 1")
    try:
        with mysql_any.session(narrow, database=""):
            error = failure(target(mysql_any, narrow))
    finally:
        mysql_any.ask("drop user narrow@'%'")
    assert isinstance(error, NoSlotsLeft)
    assert error.limit == "role"


@pytest.mark.parametrize(
    ("options", "hint"),
    [("password expire", "the password has expired: "), ("account lock", "the account is locked: ")],
)
def test_what_would_let_an_account_in_again_is_said(mysql_any: Running, options: str, hint: str) -> None:
    barred = Role("barred", "barred-s3cr3t")
    mysql_any.ask(f"create user barred@'%' identified by '{barred.password}' {options}")
    try:
        error = failure(target(mysql_any, barred))
    finally:
        mysql_any.ask("drop user barred@'%'")
    assert isinstance(error, LoginRefused)  # MariaDB lets one in whose password has expired, to set another
    assert str(error.hint).startswith(hint)


def test_answers_in_an_encoding_that_was_not_asked_for_are_not_understood(mysql_any: Running, start: Start) -> None:
    server = start(mysql_any)
    server.reload(init_connect="set character_set_results = utf16")
    error = failure(target(server))
    assert isinstance(error, NotUnderstood)
    assert "init_connect" in str(error.hint)


def test_an_old_server_is_refused_in_one_sentence(unsupported: Running) -> None:
    if unsupported.is_postgres:
        return
    version = ".".join(map(str, unsupported.version[:3]))
    error = failure(target(unsupported, None, Host(unsupported.host, unsupported.port)))
    assert isinstance(error, NotUnderstood)
    assert str(error) == f"MySQL {version} is not supported; connaudit needs 5.7 or newer"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    place = tmp_path_factory.mktemp("ca")
    for parent in (place, place.parent, place.parent.parent):
        parent.chmod(0o755)  # the server reads its certificate as somebody else
    return Authority(place)


@pytest.fixture
def certified(mariadb: Running, start: Start, authority: Authority) -> Running:
    """A server that proves that it is the host `localhost`."""
    certificate, key = authority.issue("localhost")
    return start(mariadb, ssl_ca=str(authority.certificate), ssl_cert=str(certificate), ssl_key=str(key))


def test_certificates_are_verified_as_far_as_demanded(certified: Running, authority: Authority, tmp_path: Path) -> None:
    by_name, by_address = Host("localhost", certified.port, certified.host), Host(certified.host, certified.port)
    ca, other = str(authority.certificate), str(Authority(tmp_path, "other").certificate)

    for host, options in (
        (by_name, {"ssl_mode": "VERIFY_IDENTITY", "ssl_ca": ca}),
        (by_address, {"ssl_mode": "VERIFY_CA", "ssl_ca": ca}),
        (by_address, {"ssl_mode": "required"}),
        (by_address, {}),
    ):
        assert snapshot(target(certified, None, host, **options)).server.tls
    for host, options in (
        (by_address, {"ssl_mode": "VERIFY_IDENTITY", "ssl_ca": ca}),
        (by_name, {"ssl_mode": "VERIFY_CA", "ssl_ca": other}),
        (by_name, {"ssl_ca": other}),  # a CA demands to be used
        (by_name, {"ssl_mode": "VERIFY_CA"}),  # by the CAs of this machine
    ):
        error = failure(target(certified, None, host, **options))
        assert isinstance(error, TlsFailed), options
        assert "not to be trusted" in str(error)
        assert error.stage == "tls"


def test_a_failed_verification_is_never_followed_by_an_attempt_in_clear(mysql_any: Running, tmp_path: Path) -> None:
    other = str(Authority(tmp_path, "other").certificate)
    with Proxy(mysql_any) as proxy:
        failure(target(mysql_any, None, Host(HERE, proxy.port), ssl_ca=other))
        until(lambda: proxy.passages[0].is_over)
    assert len(proxy.passages) == 1
    assert b"monitor" not in proxy.passages[0].sent


def test_where_tls_is_demanded_and_absent_nothing_is_sent(mariadb: Running, start: Start) -> None:
    bare = start(mariadb, ssl=0)
    with Proxy(bare) as proxy:
        here = Host(HERE, proxy.port)
        for mode in ("REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"):
            assert isinstance(failure(target(bare, None, here, ssl_mode=mode)), TlsFailed)
        until(lambda: all(passage.is_over for passage in proxy.passages))
        assert not any(passage.sent for passage in proxy.passages)
        assert snapshot(target(bare, None, here)).server.tls is False


def test_unusable_files_are_named(mariadb: Running, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.touch()
    for option in ("ssl_ca", "ssl_cert"):
        for path in (str(tmp_path / "absent.pem"), str(empty)):
            error = failure(target(mariadb, None, **{option: path}))
            assert isinstance(error, TlsFailed)
            assert str(error).startswith(f"{option.replace('_', '-')} {path}: ")
            assert ".c:" not in str(error)


def test_failed_audits_leave_no_files_open(mariadb: Running) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        failure(replace(target(mariadb), password=Secret("wr0ng")))
        snapshot(target(mariadb))
    until(lambda: len(list(Path("/proc/self/fd").iterdir())) <= before)
