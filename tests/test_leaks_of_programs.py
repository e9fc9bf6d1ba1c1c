"""`connaudit leaks` on live programs of many kinds, all at once on one server: who leaks is named, and nobody else.

Time is compressed: unused for 2 s is long in the series, for 5 s in the single look.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli import Result, audit, connaudit
from tests.programs import Program, Visits, gunicorn, running, script, uvicorn, visited
from tests.servers import DATABASE, Fleet, Role, Running, until

PEOPLE = Visits("cart", visitors=4, pause=0.3)
SOMEBODY = Visits("cart", visitors=1, pause=0.5)

# Each program connects as a role of its own name.
PROGRAMS = {
    "gunicorn_kept": gunicorn(2, 4, PEOPLE, CONN_MAX_AGE=None),
    "gunicorn_closed": gunicorn(1, 4, PEOPLE),
    "gunicorn_pool": gunicorn(1, 4, PEOPLE, OPTIONS={"pool": {"min_size": 2, "max_size": 4}}),
    "gunicorn_threads": gunicorn(1, 4, SOMEBODY, Visits("mail", 2, 0.6), CONN_MAX_AGE=None),
    "gunicorn_executor": gunicorn(1, 4, SOMEBODY, Visits("export", 1, 1.5)),
    "uvicorn_kept": uvicorn(SOMEBODY, CONN_MAX_AGE=60),
    "uvicorn_closed": uvicorn(PEOPLE),
    "raw_kept": script("raw.py", "kept"),
    "raw_forgotten": script("raw.py", "forgotten"),
    "alchemy_pool": script("alchemy.py", "pooled"),
    "alchemy_never_closed": script("alchemy.py", "never_closed"),
    "alchemy_never_returned": script("alchemy.py", "never_returned"),
    "psycopg_pool": script("pooling.py", "pooled"),
    "psycopg_pool_never_returned": script("pooling.py", "never_returned"),
}
OF_POSTGRESQL = {"gunicorn_pool", "psycopg_pool", "psycopg_pool_never_returned"}  # no driver of MySQL has a pool

LEAKING = ["gunicorn_threads", "uvicorn_kept", "raw_kept"]
HEALTHY = [
    "gunicorn_kept",
    "gunicorn_closed",
    "uvicorn_closed",
    "raw_forgotten",
    "alchemy_pool",
    pytest.param("gunicorn_pool", marks=pytest.mark.kinds("postgres")),
    pytest.param("psycopg_pool", marks=pytest.mark.kinds("postgres")),
]
FINE = {"pool", "parked", "ok", None}  # None: no connection is there at the last look


@dataclass(frozen=True, slots=True)
class Seen:
    """The verdicts on the programs, by their roles."""

    told: Result  # of the series
    series: dict[str, str]
    bounded: dict[str, str]  # from the same series, where two connections were enough
    look: dict[str, str]


def verdicts(result: Result) -> dict[str, str]:
    """Return the verdict on each role."""
    return {row["user"]: row["verdict"] for row in result.json["targets"][0]["rows"]}


@pytest.fixture(scope="module")
def seen(newest: Running, fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """Let all programs run for a while on a server of their own, and look at it."""
    place = tmp_path_factory.mktemp("programs")
    server = fleet.start(newest.description, {"max_connections": 300})
    programs = {name: one for name, one in PROGRAMS.items() if server.is_postgres or name not in OF_POSTGRESQL}
    roles = {name: Role(name, "s3cr3t") for name in programs}
    try:
        open_shop(server, roles)
        with ExitStack() as ending:
            run_all(server, programs, roles, place, ending)
            return look_at(server, place / "series.ndjson")
    finally:
        fleet.stop(server)


def open_shop(server: Running, roles: Mapping[str, Role]) -> None:
    """Make a table and whom it is shown to."""
    with server.session(server.superuser) as client:
        client.do("create table cart (id integer primary key)")
        for role in roles.values():
            if server.is_postgres:
                client.do(f"create role {role.name} login password '{role.password}'")
            else:
                client.do(f"create user {role.name} identified by '{role.password}'")
            client.do(f"grant select on cart to {role.name}")


def run_all(
    server: Running, programs: Mapping[str, Program], roles: Mapping[str, Role], place: Path, ending: ExitStack
) -> None:
    """Start the programs and their visitors, and wait until each has been seen."""
    common = {"host": server.host, "port": server.port, "dbname" if server.is_postgres else "database": DATABASE}
    started = [
        ending.enter_context(
            running(one, common | {"user": name, "password": roles[name].password}, place / f"{name}.log")
        )
        for name, one in programs.items()
    ]
    for one in started:
        one.wait()
    ending.enter_context(visited(started))
    with server.session(server.superuser) as client:
        seen = set[str]()

        def have_come() -> bool:
            seen.update(user for (user,) in client.do(USERS[server.is_postgres]))
            return seen.issuperset(programs)

        until(have_come, within=60)


USERS = {
    True: "select usename from pg_stat_activity where usename is not null",
    False: "select user from information_schema.processlist",
}


def look_at(server: Running, saved: Path) -> Seen:
    """Look in a series, and once more at the end."""
    seconds = "18s" if server.is_postgres else "22s"  # where openings are not told, they are known to a second
    series = audit("leaks", server, "--watch", seconds, "--idle-age", "2s", "--json", "--save", str(saved))
    look = audit("leaks", server, "--idle-age", "5s", "--json")
    bounded = connaudit("leaks", "--from", str(saved), "--idle-age", "2s", "--bound", "*=2", "--json")
    return Seen(series, verdicts(series), verdicts(bounded), verdicts(look))


@pytest.mark.parametrize("program", LEAKING)
def test_a_program_that_leaks_is_said_to(seen: Seen, program: str) -> None:
    assert seen.series[program].startswith("leak ")


@pytest.mark.parametrize("program", HEALTHY)
def test_a_program_that_is_well_is_never_suspected(seen: Seen, program: str) -> None:
    assert seen.series.get(program) in FINE
    assert seen.look.get(program) in FINE | {"suspect"}  # one look is no proof


def test_a_single_look_finds_what_is_kept_for_ever(newest: Running, seen: Seen) -> None:
    # MySQL and MariaDB do not tell when a connection was opened.
    assert seen.look["raw_kept"] == ("leak growing" if newest.is_postgres else "suspect")


def test_connections_that_are_never_closed_and_keep_a_transaction_open_are_idle_in_it(seen: Seen) -> None:
    assert {seen.series["alchemy_never_closed"], seen.look["alchemy_never_closed"]} == {"idle in transaction"}


def test_what_a_pool_lent_bit_by_bit_and_never_got_back_is_noticed(newest: Running, seen: Seen) -> None:
    assert seen.series["alchemy_never_returned"] in ({"leak growing", "suspect"} if newest.is_postgres else {"suspect"})


@pytest.mark.kinds("postgres")
def test_a_pool_whose_members_never_come_back_looks_parked_unless_its_bound_is_known(seen: Seen) -> None:
    assert seen.series["psycopg_pool_never_returned"] == "parked"
    assert seen.bounded["psycopg_pool_never_returned"] == "excess over bound"


def test_threads_of_an_executor_that_keep_connections_are_too_many_where_a_bound_is_known(seen: Seen) -> None:
    assert seen.series["gunicorn_executor"] in FINE
    assert seen.bounded["gunicorn_executor"] == "excess over bound"


def test_the_whole_is_a_warning_that_names_what_to_do(seen: Seen) -> None:
    (target,) = seen.told.json["targets"]
    assert (seen.told.status, target["status"], seen.told.err) == (1, "warning", "")
    codes = {finding["code"] for finding in target["findings"]}
    assert {"CA502", "CA506"} <= codes <= {"CA501", "CA502", "CA506"}
