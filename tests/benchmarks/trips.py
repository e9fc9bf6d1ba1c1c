"""How often a client speaks and waits, counted on the wire (G11)."""

from tests.benchmarks import installed as peers
from tests.benchmarks.goals import Findings, Goal
from tests.benchmarks.installed import Installed
from tests.benchmarks.timing import Command
from tests.faults import Passage, Proxy
from tests.servers import Running

COMMANDS = ("count", "idle-tx", "long-queries", "blocking", "check")


def round_trips(ours: Installed, server: Running, found: Findings) -> None:
    """Count those of each command, beside those of the native client with one statement."""
    with Proxy(server) as proxy:
        native = _native(server, proxy.port)
        for command in ([native] if native else []) + [
            ours.connaudit(word, DATABASE_URL=server.url(port=proxy.port)) for word in COMMANDS
        ]:
            command.run()
    passages = proxy.passages
    peer = passages.pop(0).round_trips if native else None
    assert len(passages) == len(COMMANDS), "each command is one connection"
    most = max(passage.round_trips for passage in passages)
    beside = "; ".join(f"{word} {_spoken(passage)}" for word, passage in zip(COMMANDS, passages, strict=True))
    found.goals.append(
        Goal(
            "G11",
            f"round trips on {server.description.kind} of the command with the most / native client",
            peer if peer is not None else 3,
            most,
            "",
            beside if peer is not None else f"{beside}; the native client is not installed: 3 are its",
        )
    )


def _native(server: Running, port: int) -> Command | None:
    role = server.monitor
    if server.is_postgres:
        psql = peers.psql()
        where = f"host={server.host} port={port} user={role.name} dbname=shop"
        return Command(psql, "-XAtc", "select 1", where, PGPASSWORD=role.password) if psql else None
    client = peers.there("mariadb") or peers.there("mysql")
    login = ("--no-defaults", f"-h{server.host}", f"-P{port}", f"-u{role.name}")
    return Command(client, *login, "-e", "select 1", MYSQL_PWD=role.password) if client else None


def _spoken(passage: Passage) -> str:
    return f"{passage.round_trips} ({len(passage.statements)} statement packets, {passage.received / 1000:.1f} kB)"
