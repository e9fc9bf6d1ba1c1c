"""Threads that Django's own SQL names, and habits by which last statements are known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connaudit.attribution.django import Ident, Named, ident, shape
from connaudit.snapshot import State
from tests.builders import session


@given(st.integers(1, 2**63), st.integers(1, 99))
def test_the_thread_in_a_savepoint_is_read_exactly(thread: int, number: int) -> None:
    for sql in (
        f'SAVEPOINT "s{thread}_x{number}"',
        f'RELEASE SAVEPOINT "s{thread}_x{number}"',
        f"ROLLBACK TO SAVEPOINT `s{thread}_x{number}`",
    ):
        assert ident(sql) == Ident(thread, Named.SAVEPOINT)


def test_the_thread_in_a_cursor_is_read_exactly() -> None:
    assert ident('FETCH FORWARD 2 FROM "_django_curs_140509709330112_sync_1"') == Ident(140509709330112, Named.CURSOR)
    declared = 'DECLARE "_django_curs_140_139_7" NO SCROLL CURSOR WITH HOLD FOR SELECT 1'
    assert ident(declared) == Ident(140, Named.CURSOR, is_task=True)


@pytest.mark.parametrize("sql", ['SAVEPOINT "sa_savepoint_1"', "select 's1_x1'", 'FETCH 2 FROM "c1"', "", None])
def test_other_savepoints_and_cursors_name_no_thread(sql: str | None) -> None:
    assert ident(sql) is None


@pytest.mark.parametrize(
    ("sql", "state", "words"),
    [
        ("SELECT set_config('TimeZone', 'UTC', false)", State.IDLE, "not used since"),
        ("SET TIME ZONE 'UTC'", State.IDLE, "not used since"),
        ("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED", State.IDLE, "not used since"),
        ('FETCH FORWARD 2000 FROM "_django_curs_1_sync_1"', State.IDLE_IN_TRANSACTION, "inside atomic()"),
        ('FETCH FORWARD 2000 FROM "_django_curs_1_sync_1"', State.IDLE, "outside atomic()"),
        ("SELECT id FROM t WHERE id = 1 FOR UPDATE", State.IDLE_IN_TRANSACTION, "has locked rows"),
        ("/*route='cart'*/ SELECT id FROM t FOR NO KEY UPDATE;", State.IDLE_IN_TRANSACTION, "has locked rows"),
        ("BEGIN", State.IDLE_IN_TRANSACTION, "done nothing"),
        ("SELECT pg_advisory_unlock_all();\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL;", State.IDLE, "asyncpg"),
        ("DISCARD ALL", State.IDLE, "a pool"),
        ("ROLLBACK", State.IDLE, "SQLAlchemy"),
        ("COMMIT", State.IDLE, "committed"),
    ],
)
def test_habits_are_known(sql: str, state: State, words: str) -> None:
    assert words in (shape(session(state, query=sql)) or "")


@pytest.mark.parametrize(
    ("sql", "state"),
    [("SELECT * FROM t", State.IDLE), ("ROLLBACK", State.IDLE_IN_TRANSACTION), ("BEGIN", State.ACTIVE), (None, None)],
)
def test_of_other_statements_nothing_is_made_up(sql: str | None, state: State | None) -> None:
    assert shape(session(state, query=sql)) is None
