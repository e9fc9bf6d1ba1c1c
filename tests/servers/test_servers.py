"""The servers that all other tests stand on."""

import subprocess
import sys
from pathlib import Path

from tests.conftest import Start
from tests.servers import Running, until
from tests.servers.fleet import sweep


def test_a_server_says_its_version(server: Running) -> None:
    (text,) = server.ask("show server_version" if server.is_postgres else "select version()")[0]
    assert text.startswith(".".join(map(str, server.version)))


def test_the_roles_are_what_they_are_said_to_be(server: Running) -> None:
    for role in (server.app, server.monitor, server.plain):
        with server.session(role) as client:
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


def test_an_unsupported_server_runs_all_the_same(unsupported: Running) -> None:
    assert unsupported.ask("select 1") == [(1,)]


def test_a_pooler_passes_statements_on(pooler: Running) -> None:
    with pooler.session() as client:
        (port,) = client.do("select inet_server_port()")[0]
    assert pooler.backend is not None
    assert port == pooler.backend.port != pooler.port


def test_a_paused_server_answers_after(server: Running) -> None:
    with server.session() as client:
        with server.paused():
            client.start("select 1")
            client.join(0.3)
            assert client.is_busy
        assert client.finished() is None


STARTS_ONE_AND_HANGS = """
import sys, time
from tests.servers import Fleet, chosen
fleet = Fleet()
server = fleet.start(chosen(sys.argv[1])[0])
print(server.pid, server.top, flush=True)
time.sleep(600)
"""


def test_a_server_dies_with_the_tests_that_started_it(server: Running) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTS_ONE_AND_HANGS, server.name], stdout=subprocess.PIPE, text=True
    ) as tests:
        assert tests.stdout
        pid, top = tests.stdout.readline().split()
        tests.kill()
    until(lambda: not is_process(int(pid)), within=30)
    assert Path(top).exists()
    sweep()
    assert not Path(top).exists()


def is_process(pid: int) -> bool:
    """Whether it runs; a zombie waits for an init that some containers lack."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
