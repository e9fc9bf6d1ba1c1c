"""`inspect`: one session, with what is known called known and what is a guess called a guess."""

from dataclasses import replace

import pytest

from connaudit.attribution import Confidence
from connaudit.attribution.evidence import Client, Evidence, Frame, Stack, Thread
from connaudit.diagnostics import inspect
from connaudit.diagnostics.inspect import Options
from connaudit.options import Sql
from connaudit.report import Report, Status
from connaudit.snapshot import Guard, Holder, HolderKind, Kind, Process, Session, State, Transaction, Wait
from tests.builders import MARIADB, POSTGRESQL, blocked, session, snapshot

IN_TX = State.IDLE_IN_TRANSACTION
HOLDER = session(IN_TX, id=2, in_state=8041.0, query="SAVEPOINT \"s140_x1\" /*route='cart'*/")
FRAMES = (Frame("read", "/usr/lib/python3.12/ssl.py", 9), Frame("shop.pay", "/srv/shop/views.py", 80))


def run(*sessions: Session, pid: int = 2, evidence: Evidence = Evidence(), **more: object) -> Report:  # noqa: B008
    sql = more.pop("sql", Sql.MASKED)
    return inspect.run(snapshot(*sessions, **more), Options(pid=pid, evidence=evidence, sql=sql))  # type: ignore[arg-type]


def told(report: Report) -> dict[str, tuple[object, object]]:
    """Return each fact with its value and how it is known, by `section fact`."""
    assert report.table is not None
    return {f"{r['section']} {r['fact']}": (r["value"], r["known_by"]) for r in report.table.records()}


def test_a_session_that_is_not_there_is_unknown_not_well() -> None:
    report = run(session(id=3))
    assert (report.status, report.summary["found"]) == (Status.UNKNOWN, False)
    assert report.headline == "there is no session 2: it has ended, or never was on this server"


def test_what_matters_most_comes_in_sentences() -> None:
    report = run(HOLDER, blocked((2,), id=4))
    assert report.headline == "2 is idle in transaction for 2h14m: shop_web on shop, web"
    assert report.details[0] == "last ran: SAVEPOINT \"s140_x1\" /*route='cart'*/"
    assert report.details[1] == "1 session waits behind it: 4"
    assert "pg_terminate_backend(2)" in report.details[-1]
    assert report.summary["blocks"] == [4]


def test_an_idle_session_that_holds_nothing_needs_no_remedy() -> None:
    assert not any("terminate" in line for line in run(session(id=2)).details)


def test_facts_of_the_server_stand_with_their_numbers() -> None:
    report = run(replace(HOLDER, transaction=Transaction(age=8043.0, writes=True, locks=2, horizon_age=18211)))
    facts = told(report)
    assert facts["who user"] == ("shop_web", "the server")
    assert facts["doing in this state for"] == ("2h14m", "the server")
    assert facts["transaction holds"] == ("writes, locks on 2 tables", "the server")
    assert facts["transaction holds back"] == ("vacuum 18k tx", "the server")
    (row,) = (r for r in report.table.records() if r["fact"] == "in this state for")  # type: ignore[union-attr]
    assert row["seconds"] == 8041.0


def test_code_tags_and_threads_say_how_they_are_known() -> None:
    facts = told(run(HOLDER))
    assert facts["code route"] == ("cart", Confidence.TAGS.words)
    assert facts["code thread"] == ("140, in the name of a savepoint", Confidence.THREAD.words)


def test_what_a_last_statement_suggests_is_called_a_guess() -> None:
    value, known_by = told(run(session(id=2, query="ROLLBACK")))["doing that means"]
    assert "SQLAlchemy" in str(value)
    assert str(known_by).startswith("a guess")


def test_the_exact_thread_is_surer_than_a_tag_and_a_tag_than_a_guess() -> None:
    def place(stack: Stack | None, query: str) -> tuple[object, object]:
        report = run(replace(HOLDER, query=query), evidence=Evidence(stack=stack))
        return report.summary["place"], report.summary["place_known_by"]

    thread = Thread(7, 140, "job", FRAMES)
    exact, only = Stack((thread,), Confidence.THREAD), Stack((thread,), Confidence.ONLY_THREAD)
    pay = "pay (/srv/shop/views.py:80)"
    assert place(exact, "select 1 /*route='cart'*/") == (pay, Confidence.THREAD.words)
    assert place(only, "select 1 /*route='cart'*/") == ("cart", Confidence.TAGS.words)
    assert place(only, "select 1") == (pay, Confidence.ONLY_THREAD.words)
    assert "guess" in Confidence.ONLY_THREAD.words
    assert place(Stack((thread, thread)), "select 1") == (None, None)
    assert place(None, "select 1") == (None, None)


def test_of_several_threads_each_is_shown_as_one_of_them() -> None:
    both = Stack((Thread(7, 1, "a", FRAMES), Thread(7, 2, "b", FRAMES)))
    facts = told(run(HOLDER, evidence=Evidence(stack=both)))
    assert facts["stack a"] == ("pay (/srv/shop/views.py:80)", "a guess: one of these threads")
    assert "stack b" in facts


def test_more_connections_than_threads_are_a_proof_with_both_numbers() -> None:
    process = Process(777, "gunicorn", threads=3, connections=30)
    report = run(HOLDER, evidence=Evidence(Client((process,), Confidence.PROCESS, "a -> b")))
    assert any("777 holds 30 connections to this server and has 3 threads" in line for line in report.details)
    enough = replace(process, threads=30)
    assert not any("777" in line for line in run(HOLDER, evidence=Evidence(Client((enough,)))).details)


def test_a_proxy_is_not_blamed_for_its_clients() -> None:
    process = Process(777, "pgbouncer", threads=1, connections=30)
    (line,) = (x for x in run(HOLDER, evidence=Evidence(Client((process,)))).details if "777" in x)
    assert "the client is behind it" in line


def test_one_connection_in_two_processes_was_inherited() -> None:
    two = Client((Process(777, "python"), Process(778, "python")), Confidence.PROCESS)
    assert any("777, 778 own this one connection" in line for line in run(HOLDER, evidence=Evidence(two)).details)


def test_what_was_not_found_says_why() -> None:
    facts = told(run(HOLDER, evidence=Evidence(Client(why_not="elsewhere"), Stack(why_not="not installed"))))
    assert facts["client not found"] == ("elsewhere", "this host")
    assert facts["stack none"] == ("not installed", "py-spy")


def test_guard_rails_are_those_of_this_role_in_this_database() -> None:
    name = "idle_in_transaction_session_timeout"
    guard = Guard(name, 0.0, "default", (("shop_web", 300.0), ("shop_web@other", 5.0), ("@shop", 60.0)))
    facts = told(run(HOLDER, guards=(guard, Guard("idle_transaction_timeout", None))))
    assert facts[f"guards {name}"] == ("5m00s (set for shop_web)", "the server")
    assert "guards idle_transaction_timeout" not in facts
    assert told(run(replace(HOLDER, database="other"), guards=(guard,)))[f"guards {name}"] == (
        "5s (set for shop_web in other)",
        "the server",
    )
    assert told(run(replace(HOLDER, user="x"), guards=(guard,)))[f"guards {name}"] == (
        "1m00s (set for shop)",
        "the server",
    )


def test_whom_it_waits_for() -> None:
    waiter = blocked((7, 0), id=2, waiting=5.0)
    report = run(waiter)
    assert "waits for 5s for a transactionid lock, behind a prepared transaction, 7" in report.details
    assert (report.summary["blocked_by"], report.summary["roots"]) == ([7, 0], [0, 7])
    untold = session(State.ACTIVE, id=2, wait=Wait("metadata", candidates=(5,)))
    assert any("5 may hold it, a guess" in line for line in run(untold).details)
    assert told(run(untold))["locks holds up"] == ("not told", "the server")


def test_of_one_that_waits_the_root_of_its_wait_is_what_must_end() -> None:
    root = session(IN_TX, id=7, in_state=40.0)
    ddl = session(State.ACTIVE, id=3, wait=Wait("relation", "shop.orders", "AccessExclusiveLock", 5.0, (7,)))
    reader = session(State.ACTIVE, id=2, wait=Wait("relation", "shop.orders", "AccessShareLock", 4.0, (3,)))
    report = run(root, ddl, reader)
    assert report.details[-3:-1] == (
        "waits for 4s for a relation lock on shop.orders, behind 3",
        "at the root of its wait: 7 is idle in transaction for 40s: shop_web on shop, web",
    )
    assert "pg_terminate_backend(7)" in report.details[-1]
    assert told(report)["locks root of that"] == ("7", "the server")
    *_, behind, culprit, end, gate = run(root, ddl, reader, pid=3).details
    assert behind == "1 session waits behind it: 2"
    assert culprit.startswith("at the root of its wait: 7 is idle in transaction")
    assert "pg_terminate_backend(7)" in end
    assert "pg_cancel_backend(3), which lets the 1 that waits behind it pass" in gate


def test_what_it_holds_back_is_said_as_elsewhere() -> None:
    held = Transaction(writes=False, snapshot=True, horizon_age=18211)
    on_standby = replace(POSTGRESQL, replica=True)
    assert told(run(replace(HOLDER, transaction=held), server=on_standby))["transaction holds back"][0] == "replay"
    assert told(run(replace(HOLDER, transaction=held), server=MARIADB))["transaction holds back"][0] == "purge"
    holder = Holder(HolderKind.STANDBY, "east", 5, pid=2, physical=True)
    walsender = session(State.ACTIVE, id=2, kind=Kind.REPLICATION, client="10.4.9.9")
    assert any("look on the standby at 10.4.9.9" in line for line in run(walsender, holders=(holder,)).details)


@pytest.mark.parametrize(("mode", "shown"), [(Sql.MASKED, "a = ?"), (Sql.RAW, "a = 'x'"), (Sql.NONE, None)])
def test_the_statement_is_shown_as_asked(mode: Sql, shown: str | None) -> None:
    report = run(session(id=2, query="update t set a = 'x'"), sql=mode)
    assert (report.summary["sql"] is None) if shown is None else (shown in report.summary["sql"])


def test_connect_attributes_are_what_the_client_said() -> None:
    facts = told(run(session(id=2, attributes=(("_pid", "777"),)), server=MARIADB))
    assert facts["attributes _pid"] == ("777", Confidence.APPLICATION.words)


def test_a_hidden_session_is_said_to_be_hidden() -> None:
    report = run(session(None, id=2, in_state=None))
    assert told(report)["doing state"][0] == "hidden from this role"
    assert "its state hidden" in report.headline
