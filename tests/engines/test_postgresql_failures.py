"""Why a PostgreSQL server could not be audited: real servers, real faults, one line without secrets."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from connaudit.engines.postgresql.failures import of_connect
from connaudit.errors import (
    LoginRefused,
    NameUnknown,
    NoDatabase,
    NoSlotsLeft,
    NotUnderstood,
    QueryFailed,
    Refused,
    TargetError,
    TimedOut,
    TlsFailed,
)
from connaudit.following import Following
from connaudit.snapshot import Fact, Snapshot, State
from connaudit.targets import Host, Secret, Target
from tests.certificates import Authority
from tests.conftest import Start
from tests.engines.postgresql import ALL, failure, sample, session, snapshot, take_all, target
from tests.faults import Act, Fault, Proxy, Stage, refused_port
from tests.servers import Role, Running, until

HERE = "127.0.0.1"


def test_nobody_listens(postgres: Running) -> None:
    with refused_port() as port:
        error = failure(target(postgres, hosts=(Host(HERE, port),)))
    assert isinstance(error, Refused)
    assert (error.kind, error.stage, str(error)) == ("refused", "tcp", "Connection refused")


def test_no_such_socket(postgres: Running) -> None:
    assert isinstance(failure(target(postgres, hosts=(Host("/nowhere", 5432),))), Refused)


def test_a_socket_may_be_named_by_its_file(postgres: Running) -> None:
    hosts = (Host(f"{postgres.socket}/.s.PGSQL.{postgres.port}"),)
    address = snapshot(target(postgres, postgres.superuser, hosts=hosts)).address
    assert (address.host, address.port) == (postgres.socket, None)


def test_a_name_without_address(postgres: Running) -> None:
    error = failure(target(postgres, hosts=(Host("nowhere.invalid", 5432),)))
    assert isinstance(error, NameUnknown)
    assert error.stage == "dns"
    assert "nowhere.invalid" in str(error)


def test_one_name_of_two_is_enough(postgres: Running) -> None:
    hosts = (Host("nowhere.invalid", 5432), Host("localhost", postgres.port))
    assert snapshot(target(postgres, hosts=hosts)).address.host == "localhost"


def test_a_wrong_password(postgres_any: Running) -> None:
    error = failure(target(postgres_any, password=Secret("hush-hush")))
    assert isinstance(error, LoginRefused)
    assert error.stage == "login"
    assert "hush-hush" not in f"{error}{error.hint}{error!r}"


def test_no_password_at_all(postgres: Running) -> None:
    error = failure(target(postgres, password=None, options=(("passfile", "/dev/null/none"),)))
    assert isinstance(error, LoginRefused)
    assert str(error) == "no password supplied"


def test_no_such_database(postgres_any: Running) -> None:
    assert isinstance(failure(target(postgres_any, database="nil")), NoDatabase)


def test_tls_demanded_of_a_server_without(postgres: Running) -> None:
    error = failure(target(postgres, options=(("sslmode", "require"),)))
    assert isinstance(error, TlsFailed)
    assert error.stage == "tls"


def encrypted(server: Running, host: str, port: int, mode: str, root: Authority) -> Target:
    options = (("sslmode", mode), ("sslrootcert", str(root.certificate)))
    return target(server, hosts=(Host(host, port),), options=options)


def test_a_certificate_is_checked_as_far_as_it_was_asked(postgres: Running, authority: Authority) -> None:
    other = Authority(authority.place, "other")
    with Proxy(postgres, tls=authority.server_side("localhost")) as proxy:
        assert snapshot(encrypted(postgres, "localhost", proxy.port, "verify-full", authority)).server.tls
        assert snapshot(encrypted(postgres, HERE, proxy.port, "verify-ca", authority)).server.tls
        for host, mode, root in (("localhost", "verify-ca", other), (HERE, "verify-full", authority)):
            error = failure(encrypted(postgres, host, proxy.port, mode, root))
            assert isinstance(error, TlsFailed)
            assert error.stage == "tls"


def test_a_server_tells_who_comes_by_tls(postgres_any: Running, start: Start, authority: Authority) -> None:
    if postgres_any.ask("show ssl_library") == [("",)]:  # built without TLS
        assert isinstance(failure(target(postgres_any, options=(("sslmode", "require"),))), TlsFailed)
        return
    certificate, key = authority.issue("localhost")
    own = start(postgres_any, ssl="on", ssl_cert_file=str(certificate), ssl_key_file=str(key))
    with own.session(sslmode="disable") as clear, own.session(host=own.socket) as local:
        taken = snapshot(encrypted(own, "localhost", own.port, "verify-full", authority))
    assert taken.server.tls
    assert [s.encrypted for s in taken.sessions if s.is_self] == [True]
    assert (session(taken, clear.id).encrypted, session(taken, local.id).encrypted) == (False, None)


def test_another_role_of_the_server_was_wanted(postgres: Running) -> None:
    error = failure(target(postgres, options=(("target_session_attrs", "standby"),)))
    assert isinstance(error, Refused)
    assert error.hint is not None
    assert "target_session_attrs" in error.hint


def test_an_option_that_libpq_does_not_know_tells_no_secret(postgres: Running) -> None:
    error = failure(target(postgres, options=(("novelty", Secret("hush-hush")),)))
    assert isinstance(error, NotUnderstood)
    assert "hush-hush" not in str(error)


def test_another_kind_of_server(mariadb: Running) -> None:
    error = failure(target(mariadb, hosts=(Host(HERE, mariadb.port),)))
    assert isinstance(error, NotUnderstood)


def test_an_older_server_than_we_know(unsupported: Running) -> None:
    if not unsupported.is_postgres:
        return
    error = failure(target(unsupported))
    assert isinstance(error, NotUnderstood)
    assert f"PostgreSQL {unsupported.version[0]}." in str(error)
    assert "12 or newer" in str(error)


@pytest.fixture
def deaf() -> Iterator[int]:
    """A port whose kernel accepts and behind which nobody ever speaks."""
    with socket.create_server((HERE, 0)) as listener:
        yield listener.getsockname()[1]


def test_a_deaf_server_costs_the_timeout_and_no_more(postgres: Running, deaf: int) -> None:
    began = time.monotonic()
    error = failure(target(postgres, hosts=(Host(HERE, deaf),)), timeout=0.5)
    assert isinstance(error, TimedOut)
    assert str(error) == "timed out after 0.5s during tls"
    assert 0.5 <= time.monotonic() - began < 3


def test_a_deaf_host_does_not_hide_the_next_one(postgres: Running, deaf: int) -> None:
    one = target(postgres, hosts=(Host(HERE, deaf), Host(HERE, postgres.port)))
    (outcome,) = take_all([one], timeout=2)
    assert isinstance(outcome, Snapshot)
    assert outcome.address.port == postgres.port


def test_a_stopped_server_times_out_in_the_query(postgres: Running) -> None:
    with Proxy(postgres, Fault(Act.HANG, Stage.QUERY)) as proxy:
        error = failure(target(postgres, hosts=(Host(HERE, proxy.port),)), timeout=0.6)
    assert isinstance(error, TimedOut)
    assert error.stage == "query"


@pytest.mark.parametrize("stage", [Stage.GREETING, Stage.QUERY])
def test_a_connection_cut_in_the_middle(postgres: Running, stage: Stage) -> None:
    with Proxy(postgres, Fault(Act.CUT, stage, 40)) as proxy:
        error = failure(target(postgres, hosts=(Host(HERE, proxy.port),)))
    assert isinstance(error, Refused if stage is Stage.GREETING else QueryFailed), repr(error)


def test_a_slow_drip_is_bounded_too(postgres: Running) -> None:
    with Proxy(postgres, Fault(Act.DRIP)) as proxy:
        error = failure(target(postgres, hosts=(Host(HERE, proxy.port),)), timeout=1.3)
    assert isinstance(error, TimedOut)


def test_a_full_server_says_for_whom_it_is_full(postgres_any: Running, start: Start) -> None:
    own = start(postgres_any, max_connections=12, superuser_reserved_connections=2, max_wal_senders=3)
    with ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(own.session(own.superuser))
        error = failure(target(own))
        assert isinstance(error, NoSlotsLeft)
        assert (error.limit, error.kind, error.stage) == ("server", "too_many_connections", "login")
        assert "reserved" in str(error)
        assert error.hint is not None
        assert "superusers can" in error.hint
        for _ in range(2):
            stack.enter_context(own.session(own.superuser))
        error = failure(target(own, own.superuser))
        assert isinstance(error, NoSlotsLeft)
        assert "too many clients already" in str(error)


@pytest.mark.parametrize("scope", ["role", "database"])
def test_a_role_or_database_that_is_full(postgres_any: Running, scope: str) -> None:
    postgres_any.ask("create role crowded login password 'c' connection limit 1")
    postgres_any.ask("create database narrow connection limit 1")
    crowded = Role("crowded", "c")
    try:
        role, database = (crowded, "shop") if scope == "role" else (postgres_any.app, "narrow")
        with postgres_any.session(role, database=database):
            error = failure(target(postgres_any, role, database))
    finally:
        postgres_any.ask("drop role crowded")
        postgres_any.ask("drop database narrow")
    assert isinstance(error, NoSlotsLeft)
    assert error.limit == scope


def test_a_locked_pg_authid_hangs_logins_and_the_hint_says_so(postgres: Running) -> None:
    with postgres.session(postgres.superuser) as holder:
        holder.do("begin")
        holder.do("lock table pg_authid in access exclusive mode")
        error = failure(target(postgres), timeout=1)
        holder.do("rollback")
    assert isinstance(error, TimedOut)
    assert error.stage == "login"
    assert error.hint is not None
    assert "pg_authid" in error.hint


def test_a_locked_catalogue_costs_names_and_not_the_audit(pooler: Running) -> None:
    behind = pooler.backend
    assert behind is not None
    one = target(pooler, pooler.superuser)
    snapshot(one)  # from now on the pooler keeps a connection to the server, which needs no login any more
    with behind.session(behind.superuser) as holder:
        holder.do("begin")
        holder.do("lock table pg_authid in access exclusive mode")
        taken = snapshot(one)
        holder.do("rollback")
    assert holder.id in {s.id for s in taken.clients}
    assert "oid 10" in {s.user for s in taken.clients}
    assert [gap.why for gap in taken.gaps if gap.fact is Fact.SESSIONS and "locked" in gap.why]


def test_who_waits_behind_a_locked_pg_class_is_told_without_its_name(postgres_any: Running) -> None:
    """As when VACUUM FULL pg_class runs: a kept connection still gets through, and must not wait for names itself."""
    locks = ("begin", "lock table pg_class in access exclusive mode")
    with Following([target(postgres_any)], ALL) as kept, postgres_any.session(postgres_any.superuser) as waiter:
        first = sample(kept)
        with postgres_any.session(postgres_any.superuser, *locks) as holder:
            waiter.start("select count(*) from pg_class")
            found = until(lambda: {s.id: s.wait for s in sample(kept).sessions if s.wait})
            taken = sample(kept)
        assert waiter.finished() is None
    assert (found[waiter.id].blocked_by, found[waiter.id].relation) == ((holder.id,), None)
    assert taken.gaps == first.gaps == ()


@pytest.fixture
def lobby(postgres_any: Running) -> Iterator[Callable[[str], None]]:
    """A database into which a login trigger lets people; a test says what it does to the role `monitor`."""
    postgres_any.ask("create database lobby")

    def lobby(action: str) -> None:
        body = f"begin if session_user = 'monitor' then {action}; end if; end"
        with postgres_any.session(postgres_any.superuser, database="lobby") as owner:
            owner.do(f"create function porter() returns event_trigger language plpgsql as $${body}$$")
            owner.do("create event trigger porter on login execute function porter()")

    yield lobby
    postgres_any.ask("drop database lobby with (force)")


@pytest.mark.kinds("postgres", since=(17,))
def test_what_a_login_trigger_says_is_told(postgres_any: Running, lobby: Callable[[str], None]) -> None:
    lobby("raise exception 'closed on Sundays'")
    error = failure(target(postgres_any, database="lobby"))
    assert isinstance(error, LoginRefused)
    assert str(error) == "closed on Sundays"


@pytest.mark.kinds("postgres", since=(17,))
def test_who_hangs_in_a_login_trigger_is_starting_and_not_hidden(
    postgres_any: Running, lobby: Callable[[str], None]
) -> None:
    lobby("perform pg_sleep(60)")
    assert isinstance(failure(target(postgres_any, database="lobby"), timeout=3), TimedOut)
    until(lambda: in_lobby(snapshot(target(postgres_any))) == [State.STARTING])
    assert snapshot(target(postgres_any)).gaps == ()


def in_lobby(taken: Snapshot) -> list[State | None]:
    return [s.state for s in taken.clients if s.database == "lobby"]


def test_a_pooler_is_told_from_a_server_and_keeps_nothing_of_ours(pooler: Running) -> None:
    taken = snapshot(target(pooler))
    assert taken.server.via_pooler
    assert "pooler" in taken.notes[0]
    (ourselves,) = (s for s in taken.sessions if s.is_self)
    assert ourselves.application == "connaudit"
    with pooler.session(pooler.monitor) as next_one:
        for name, value in (("statement_timeout", "0"), ("lock_timeout", "0"), ("search_path", '"$user", public')):
            assert next_one.do(f"show {name}") == [(value,)]


def test_the_console_of_a_pooler_is_no_server(pooler: Running) -> None:
    error = failure(target(pooler, pooler.superuser, "pgbouncer"))
    assert isinstance(error, NotUnderstood)
    assert "console of PgBouncer" in str(error)


def test_a_full_pooler(pooler: Running, start: Start) -> None:
    own = start(pooler, max_client_conn=2)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(own.session(own.app))
        error = failure(target(own))
    assert isinstance(error, NoSlotsLeft)
    assert error.limit == "pooler"


PLACE = 'connection to server at "db" (10.0.0.1), port 5432 failed: '


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.9", user "u", database "d", no encryption', LoginRefused),
        (
            "FATAL:  no existe una línea en pg_hba.conf para «10.0.0.9», usuario «u», base «d», sin cifrado",
            LoginRefused,
        ),
        ("FATAL:  the database system is starting up", Refused),
        ("FATAL:  the database system is shutting down", Refused),
        ("FATAL:  the database system is not accepting connections\nDETAIL:  Hot standby mode is disabled.", Refused),
        ('FATAL:  database "d" is not currently accepting connections', NoDatabase),
        ('FATAL:  database "d" is disabled', NoDatabase),  # by an administrator of PgBouncer
        ("No route to host", Refused),
        ("FATAL:  42501: permission denied for schema public\nLOCATION:  aclcheck_error, aclchk.c:2809", LoginRefused),
        ('invalid target_session_attrs value: "some"', NotUnderstood),
        ("SSL error: certificate verify failed", TlsFailed),
        ('server certificate for "a" does not match host name "db"', TlsFailed),
        ('FATAL:  permission denied for database "d"', NoDatabase),
        ("FATAL:  Verbleibende Verbindungen sind für Rollen mit SUPERUSER reserviert", NoSlotsLeft),
        ("FATAL:  remaining connection slots are reserved for non-replication superuser, rds_reserved", NoSlotsLeft),
        ("FATAL:  query_wait_timeout", NoSlotsLeft),
    ],
)
def test_sentences_that_no_server_here_says(text: str, kind: type[TargetError]) -> None:
    error = of_connect(PLACE + text, "login", Target("t", "postgresql", (Host("db", 5432),)))
    assert isinstance(error, kind)
    assert "connection to server" not in str(error)
    assert "FATAL" not in str(error)


def test_a_line_that_rejects_is_not_taken_for_one_that_is_missing() -> None:
    text = 'FATAL:  28000: pg_hba.conf rejects connection for host "10.0.0.9", user "u", database "d", no encryption'
    error = of_connect(PLACE + text, "login", Target("t", "postgresql", (Host("db", 5432),)))
    assert isinstance(error, LoginRefused)
    assert "add a line" not in (error.hint or "")


def test_a_certificate_of_another_name_is_no_matter_of_its_authority() -> None:
    text = PLACE + 'server certificate for "a" (and 1 other name) does not match host name "db"'
    error = of_connect(text, "tls", Target("t", "postgresql", (Host("db", 5432),)))
    assert "connect by a name in the certificate" in (error.hint or "")


def test_of_several_hosts_the_decisive_one_counts() -> None:
    lines = ["Connection refused\n\tIs the server running on that host?", "FATAL:  sorry, too many clients already"]
    error = of_connect(
        "\n".join(PLACE + line for line in lines), "login", Target("t", "postgresql", (Host("db", 5432),))
    )
    assert isinstance(error, NoSlotsLeft)


def test_a_password_in_the_options_is_masked() -> None:
    one = replace(Target("t", "postgresql", (Host("db"),)), options=(("sslpassword", Secret("hush")),))
    assert "hush" not in str(of_connect('invalid option value: "hush"', "tcp", one))


def test_a_full_server_is_known_in_whatever_language_it_speaks(postgres: Running, start: Start) -> None:
    full = start(postgres, max_connections=5, superuser_reserved_connections=1)

    def translated(chunk: bytes) -> bytes:
        for words in (
            b"remaining connection slots are reserved for roles with the SUPERUSER attribute",
            b"remaining connection slots are reserved for non-replication superuser connections",
            b"FATAL",
        ):
            chunk = chunk.replace(words, "Ü".encode() * (len(words) // 2) + b"x" * (len(words) % 2))
        return chunk

    with ExitStack() as sessions:
        for _ in range(4):
            sessions.enter_context(full.session(full.app))
        with Proxy(full, rewrite=translated) as proxy:
            error = failure(target(full, hosts=(Host(HERE, proxy.port),)))
    assert isinstance(error, NoSlotsLeft), error
    assert "ÜÜ" in str(error)


def test_a_missing_database_is_known_in_whatever_language(postgres: Running) -> None:
    def translated(chunk: bytes) -> bytes:
        return chunk.replace(b"does not exist", b"gibt es nicht.")

    with Proxy(postgres, rewrite=translated) as proxy:
        error = failure(target(postgres, hosts=(Host(HERE, proxy.port),), database="nowhere"))
    assert isinstance(error, NoDatabase), error
