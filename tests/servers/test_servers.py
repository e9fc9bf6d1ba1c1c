"""The servers that all other tests stand on."""

from tests.conftest import Start
from tests.servers import Running, until


def test_a_server_says_its_version(server: Running) -> None:
    (text,) = server.ask("show server_version" if server.is_postgres else "select version()")[0]
    assert text.startswith(".".join(map(str, server.version)))


def test_the_roles_are_what_they_are_said_to_be(server: Running) -> None:
    for role in (server.app, server.monitor, server.plain):
        with server.session(role, database="postgres" if server.is_postgres else "information_schema") as client:
            assert client.do("select 1") == [(1,)]


def test_a_session_is_held_and_gone_after(server: Running) -> None:
    listed = "select count(*) from pg_stat_activity where pid = %s"
    if not server.is_postgres:
        listed = "select count(*) from information_schema.processlist where id = %s"
    with server.session(server.app, "begin") as client:
        assert server.ask(listed, client.id) == [(1,)]
    until(lambda: server.ask(listed, client.id) == [(0,)])


def test_a_busy_session_can_be_ended(server: Running) -> None:
    with server.session() as client:
        client.start("select pg_sleep(60)" if server.is_postgres else "select sleep(60)")
        assert client.is_busy


def test_an_own_server_has_its_settings(server: Running, start: Start) -> None:
    own = start(server, max_connections=20)
    (number,) = own.ask(
        "select setting::int from pg_settings where name = 'max_connections'"
        if own.is_postgres
        else "select @@max_connections"
    )[0]
    assert number == 20
    assert own.port != server.port
