"""How long big servers take to list (G4, G5, G7), beside what lists the same rows."""

from tests.benchmarks import installed as peers
from tests.benchmarks.crowd import Crowd
from tests.benchmarks.goals import Findings, Goal
from tests.benchmarks.installed import IMPORTS, Installed
from tests.benchmarks.timing import Command, Timing, in_turn
from tests.faults import Proxy
from tests.servers import Running

LISTED = ("idle-tx", "--min-age", "1ms")
SESSIONS = """
    select pid, now() - state_change as idle, now() - xact_start as age, datname, usename, application_name,
           client_addr, left(query, 200) as query
    from pg_stat_activity where state = 'idle in transaction' order by xact_start
"""
TRANSACTIONS = """
    select * from information_schema.processlist as p
    left join information_schema.innodb_trx as t on t.trx_mysql_thread_id = p.id
"""
LONG = 100_000  # bytes of a statement


def postgresql(ours: Installed, server: Running, crowd: Crowd, found: Findings) -> None:
    """Measure the list of all sessions of a crowd that is idle in transactions."""
    url = {"DATABASE_URL": server.url()}
    commands = {"connaudit": ours.connaudit(*LISTED, **url), "--json": ours.connaudit(*LISTED, "--json", **url)}
    _all_listed(commands["connaudit"], len(crowd))
    commands[IMPORTS["psycopg"]] = ours.imports("psycopg")
    psql = peers.psql()
    if psql:
        who = f"host={server.host} port={server.port} user={server.monitor.name} dbname=shop"
        commands["psql"] = Command(psql, "-X", "-c", SESSIONS, who, PGPASSWORD=server.monitor.password)
    timing = in_turn(commands, 7)
    found.sessions.append((len(crowd), timing.wall("connaudit")))
    if len(crowd) >= 1000:
        _goals("G4", f"{len(crowd):,} sessions listed / `psql`'s aligned table", 2, ("psql", timing), found)
        peak = max(timing.peak("connaudit"), timing.peak("--json"))
        found.goals.append(Goal("G4", f"memory for {len(crowd):,} sessions", 55, peak, "MiB"))


def mariadb(ours: Installed, server: Running, crowd: Crowd, found: Findings) -> None:
    """Measure the list of all threads with their transactions."""
    url = {"DATABASE_URL": server.url()}
    commands = {"connaudit": ours.connaudit(*LISTED, **url), "--json": ours.connaudit(*LISTED, "--json", **url)}
    _all_listed(commands["connaudit"], len(crowd))
    client = peers.there("mariadb") or peers.there("mysql")
    if client:
        login = ("--no-defaults", f"-h{server.host}", f"-P{server.port}", f"-u{server.monitor.name}")
        for name, statement in (("mariadb", "show full processlist"), ("join", TRANSACTIONS)):
            commands[name] = Command(client, *login, "-te", statement, MYSQL_PWD=server.monitor.password)
    timing = in_turn(commands, 7)
    size = f"{len(crowd):,}"
    _goals("G5", f"{size} threads listed with innodb_trx / `show full processlist`", 4, ("mariadb", timing), found)
    if "join" in timing:
        ratio, beside = timing.ratio("connaudit", "join"), timing.beside("join")
        found.goals.append(Goal("G5", "the same / joined by the server", 0.6, ratio, beside=beside))


def long_texts(ours: Installed, server: Running, crowd: Crowd, found: Findings) -> None:
    """Measure the bytes and the memory that statements of 100 kB cost."""
    with Proxy(server) as proxy:
        _all_listed(ours.connaudit(*LISTED, DATABASE_URL=server.url(port=proxy.port)), len(crowd))
    timing = in_turn({"connaudit": ours.connaudit(*LISTED, DATABASE_URL=server.url())}, 5)
    what = f"{len(crowd):,} sessions with statements of 100 kB"
    took = f"of {len(crowd) * LONG / 1e6:.0f} MB of text; {timing.wall('connaudit'):.2f} s"
    found.goals += [
        Goal("G7", f"{what}: bytes received", 1000, proxy.passages[0].received / 1000, "kB", took),
        Goal("G7", f"{what}: memory", 50, timing.peak("connaudit"), "MiB"),
    ]


def _all_listed(command: Command, size: int) -> None:
    lines = command.run().count("\n")
    assert lines > size, f"{size} sessions are there, {lines} lines were written"


def _goals(name: str, what: str, limit: float, measured: tuple[str, Timing], found: Findings) -> None:
    peer, timing = measured
    for words, suffix in (("connaudit", ""), ("--json", ", as JSON")):
        ratio = timing.ratio(words, peer) if peer in timing else None
        beside = timing.beside(peer, *IMPORTS.values(), words) if peer in timing else f"{peer} is not installed"
        found.goals.append(Goal(name, what + suffix, limit, ratio, beside=beside))
