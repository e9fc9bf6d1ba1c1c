"""How long one call takes beside the native clients (G1, G2, G3, G12)."""

from tests.benchmarks import installed as peers
from tests.benchmarks.goals import Findings, Goal
from tests.benchmarks.installed import IMPORTS, Installed
from tests.benchmarks.timing import Command, Failed, Timing, in_turn
from tests.servers import Running

COUNT = "select count(*) from pg_stat_activity"


def help_and_version(ours: Installed, found: Findings) -> None:
    """Measure what asks no server."""
    commands = {
        "python -c pass": Command(ours.python, "-c", "pass"),
        "python -c 'import click'": Command(ours.python, "-c", "import click"),
        "--help": ours.connaudit("--help"),
        "--version": ours.connaudit("--version"),
    }
    timing = in_turn(commands, 15)
    for word in ("--help", "--version"):
        ratio = timing.ratio(word, "python -c pass")
        beside = timing.beside("python -c pass", "python -c 'import click'", word)
        found.goals.append(Goal("G12", f"`connaudit {word}` / `python -c pass`", 3.5, ratio, beside=beside))


def count_on_postgresql(ours: Installed, server: Running, found: Findings) -> None:
    """Measure `count` on an idle server."""
    psql = peers.psql()
    if psql is None:
        found.missing.append("psql is not installed: G1, G4, G8 have nothing to be compared with")
        return
    password = server.monitor.password
    commands = {
        "psql": Command(psql, "-XAtc", COUNT, _dsn(server), PGPASSWORD=password),
        "connaudit": ours.connaudit("count", DATABASE_URL=server.url()),
        IMPORTS["psycopg"]: ours.imports("psycopg"),
    }
    if check := peers.there("check_postgres"):
        where = (f"--host={server.host}", f"--port={server.port}", f"--dbuser={server.monitor.name}", "--dbname=shop")
        _add(commands, "check_postgres", Command(check, "--action=backends", *where, PGPASSWORD=password), found)
    else:
        found.missing.append("check_postgres is not installed")
    timing = in_turn(commands)
    beside = timing.beside("psql", "check_postgres", IMPORTS["psycopg"], "connaudit")
    ratio = timing.ratio("connaudit", "psql")
    found.goals += [
        Goal("G1b", "`count` on PostgreSQL / `psql` (the real binary)", 11, ratio, beside=beside),
        _memory("PostgreSQL", 40, timing),
    ]


def count_on_mysql(ours: Installed, server: Running, found: Findings) -> None:
    """Measure `count` on an idle server."""
    client = peers.there("mariadb") or peers.there("mysql")
    if client is None:
        found.missing.append("neither mariadb nor mysql, the clients, are installed: G2 and G5 lack their peer")
        return
    login = (f"-h{server.host}", f"-P{server.port}", f"-u{server.monitor.name}")
    password = server.monitor.password
    commands = {
        "mariadb": Command(
            client, "--no-defaults", *login, "-e", "show status like 'Threads_connected'", MYSQL_PWD=password
        ),
        "connaudit": ours.connaudit("count", DATABASE_URL=server.url()),
        IMPORTS["pymysql"]: ours.imports("pymysql"),
    }
    for name, once in (("mytop", ("-b",)), ("innotop", ("-n", "--count", "1"))):
        if peer := peers.there(name):
            where = ("-h", server.host, "-P", str(server.port), "-u", server.monitor.name, "-p", password)
            _add(commands, name, Command(peer, *once, *where, TERM="dumb"), found)
        else:
            found.missing.append(f"{name} is not installed")
    timing = in_turn(commands)
    ratio = timing.ratio("connaudit", "mariadb")
    beside = timing.beside("mariadb", "mytop", "innotop", IMPORTS["pymysql"], "connaudit")
    found.goals += [
        Goal("G2", "`count` on MariaDB / `mariadb -e`", 8, ratio, beside=beside),
        _memory("MariaDB", 24, timing),
    ]


def _add(commands: dict[str, Command], name: str, peer: Command, found: Findings) -> None:
    """Add a peer that works: some lack a library of their own."""
    try:
        peer.run()
    except Failed as failure:
        found.missing.append(f"{name} is installed and does not work: {str(failure)[-200:]}")
    else:
        commands[name] = peer


def _memory(product: str, limit: float, timing: Timing) -> Goal:
    beside = ", ".join(f"{name} {timing.peak(name):.0f} MiB" for name in ("psql", "mariadb") if name in timing)
    return Goal("G3", f"memory of `count` on {product}", limit, timing.peak("connaudit"), "MiB", beside)


def _dsn(server: Running) -> str:
    return f"host={server.host} port={server.port} user={server.monitor.name} dbname=shop"
