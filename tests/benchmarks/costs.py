"""What an audit costs a server: its processor time, bytes and locks, beside single statements (G6)."""

from pathlib import Path

from tests.benchmarks.crowd import Crowd
from tests.benchmarks.goals import Findings, Goal
from tests.benchmarks.installed import Installed
from tests.benchmarks.timing import median
from tests.faults import Passage, Proxy
from tests.servers import Client, Running

HEAD = ("sessions", "what", "server's CPU", "bytes", "locks held")
CHEAPEST = "select sum(numbackends) from pg_stat_database"
COUNT = "select count(*) from pg_stat_activity"
LOCKS = "select count(*) from pg_locks"
ALL_ROWS = """
    select pid, backend_type, state, datname, usename, application_name, client_addr, client_port, backend_start,
           xact_start, query_start, state_change, wait_event_type, wait_event, backend_xid, backend_xmin,
           left(query, 200)
    from pg_stat_activity
"""
TIMES = 11


def of_audits(ours: Installed, server: Running, crowd: Crowd, found: Findings) -> None:
    """Measure on a connection that is open, with the very statements that audits send."""
    size = f"{len(crowd):,}"
    sent = {word: sent_by(ours, server, word) for word in ("count", "idle-tx", "check")}
    with server.session(server.monitor) as client:
        cost = {text: _processor(client, text) for text in (CHEAPEST, COUNT, ALL_ROWS, LOCKS)}
        audits = {word: _processor(client, ";".join(passage.statements)) for word, passage in sent.items()}
        locks = {word: _locks(client, ";".join(passage.statements)) for word, passage in sent.items()}
    compared = {"sum(numbackends)": CHEAPEST, "count(*)": COUNT, "17 columns of all rows": ALL_ROWS, "pg_locks": LOCKS}
    for words, text in compared.items():
        found.costs.append((size, words, _milliseconds(cost[text]), "", ""))
    for word, passage in sent.items():
        cells = (size, f"`connaudit {word}`", _milliseconds(audits[word]), f"{passage.received / 1000:.0f} kB")
        found.costs.append((*cells, str(locks[word])))
    if len(crowd) >= 1000:
        beside = (
            f"{_milliseconds(cost[CHEAPEST])} against {_milliseconds(audits['count'])}; "
            f"{_milliseconds(cost[COUNT])} are for count(*): who holds them stands in that list alone"
        )
        reads_locks = f"{_milliseconds(cost[ALL_ROWS])}, without {_milliseconds(cost[LOCKS])} for what they hold"
        found.goals += [
            Goal("G6", f"server's CPU of `count`, {size} sessions / sum(numbackends)", 1.2,
                 audits["count"] / cost[CHEAPEST], beside=beside),
            Goal("G6", f"server's CPU of `idle-tx`, {size} sessions / 17 columns of all rows", 1.2,
                 audits["idle-tx"] / cost[ALL_ROWS], beside=reads_locks),
        ]  # fmt: skip


def sent_by(ours: Installed, server: Running, word: str) -> Passage:
    """Return what one command says to the server."""
    with Proxy(server) as proxy:
        ours.connaudit(word, DATABASE_URL=server.url(port=proxy.port)).run()
    return proxy.passages[0]


def _processor(client: Client, text: str) -> float:
    """Return the seconds of processor that the session's own process spends on a text."""
    spent = []
    for _ in range(TIMES):
        before = _nanoseconds(client.id)
        client.do(text)
        spent.append((_nanoseconds(client.id) - before) / 1e9)
    return median(spent)


def _nanoseconds(process: int) -> int:
    return int(Path(f"/proc/{process}/schedstat").read_text(encoding="ascii").split()[0])


def _locks(client: Client, text: str) -> int:
    """Return how many locks the statements hold when they are done and before they end their transaction."""
    client.do(text.rpartition(";")[0])
    held = client.do("select count(*) from pg_locks where pid = pg_backend_pid() and locktype <> 'virtualxid'")
    client.do("rollback")
    return int(held[0][0])


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
