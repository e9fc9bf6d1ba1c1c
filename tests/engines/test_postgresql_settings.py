"""What a role, its database or its client has set changes nothing of what is told."""

from collections.abc import Callable, Iterator

import pytest

from connaudit.following import Following
from connaudit.snapshot import Fact
from tests.engines.postgresql import failure, sample, snapshot, target
from tests.servers import Role, Running

ODD = Role("odd", "0dd-s3cr3t")
Set = Callable[..., None]


@pytest.fixture
def set_for_odd(postgres_any: Running) -> Iterator[Set]:
    """Make the monitoring role `odd`, for which a test sets what it likes."""
    postgres_any.ask(f"create role {ODD.name} login password '{ODD.password}'")
    postgres_any.ask(f"grant pg_monitor to {ODD.name}")

    def set_for_odd(**settings: str | int) -> None:
        for name, value in settings.items():
            postgres_any.ask(f"alter role {ODD.name} set {name} = {value}")

    yield set_for_odd
    postgres_any.ask(f"drop role {ODD.name}")


def test_no_transaction_of_ours_waits_for_those_of_others(postgres_any: Running, set_for_odd: Set) -> None:
    set_for_odd(default_transaction_isolation="serializable", default_transaction_deferrable="on")
    writes = ("begin isolation level serializable", "create table unfinished (id int)")
    with postgres_any.session(postgres_any.app, *writes) as writer:
        assert writer.id in {s.id for s in snapshot(target(postgres_any, ODD)).clients}


def test_ages_and_names_are_written_as_ever(postgres_any: Running, set_for_odd: Set) -> None:
    set_for_odd(extra_float_digits=-15, quote_all_identifiers="on", intervalstyle="sql_standard", datestyle="german")
    with postgres_any.session():
        taken = snapshot(target(postgres_any, ODD))
    assert any(len(str(s.connection_age)) > len("0.12") for s in taken.sessions)  # microseconds, and not one digit
    assert taken.taken_at.endswith("Z")
    assert taken.auditor
    assert taken.auditor.account == "odd"


def test_only_our_own_time_limits_end_what_we_ask(postgres_any: Running, set_for_odd: Set) -> None:
    set_for_odd(statement_timeout=400, lock_timeout="'1min'", exit_on_error="on")
    if postgres_any.version >= (17,):
        set_for_odd(transaction_timeout=400)
    with Following([target(postgres_any, ODD)], frozenset({Fact.SESSIONS})) as kept:
        sample(kept)
        with postgres_any.session(postgres_any.superuser, "begin", "lock table pg_database"):
            taken = sample(kept)
    assert {gap.why for gap in taken.gaps} == {"databases: their names and limits: a system catalogue is locked"}


def test_a_role_that_does_not_track_itself_misses_nothing_of_others(postgres_any: Running, set_for_odd: Set) -> None:
    set_for_odd(track_activities="off")
    with postgres_any.session():
        assert snapshot(target(postgres_any, ODD)).gaps == ()


def test_a_library_that_is_not_there_is_no_server_that_is_not_there(postgres_any: Running, set_for_odd: Set) -> None:
    set_for_odd(local_preload_libraries="nowhere")
    error = failure(target(postgres_any, ODD))
    assert error.kind == "auth"
    assert error.hint is not None
    assert "preload_libraries" in error.hint
