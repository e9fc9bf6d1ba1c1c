"""The doctor's judgement of what a server told: which points are well, and what is advised where they are not."""

from typing import Any

import pytest

from connaudit.diagnostics import doctor
from connaudit.diagnostics.points import Point
from connaudit.report import Finding, Report, Status
from connaudit.snapshot import Address, Auditor, Fact, Gap, Guard, Server, Snapshot
from tests.builders import MARIADB, POSTGRESQL, snapshot

MONITOR = Auditor("monitor", superuser=False, sees_all=True, reserve=True)
MYSQL = Server("mysql", "MySQL", (8, 4, 3), "8.4.3", tls=True)


def healthy(**more: Any) -> Snapshot:
    """Return a snapshot at which a doctor has nothing to complain of."""
    values: dict[str, Any] = {
        "server": Server("postgresql", "PostgreSQL", (16, 4), "16.4", tls=True, encoding="UTF8"),
        "auditor": MONITOR,
        "guards": (Guard("idle_in_transaction_session_timeout", 300.0), Guard("idle_session_timeout", 3600.0)),
        "stages": (("dns", 0.001), ("login", 0.01)),
    }
    return snapshot(**{**values, **more})


def examined(taken: Snapshot) -> Report:
    return doctor.run(taken, doctor.Options())


def server(base: Server = POSTGRESQL, **more: Any) -> Server:
    from dataclasses import replace

    return replace(base, **{"tls": True, **more})


def finding(taken: Snapshot, code: str) -> Finding:
    (found,) = (each for each in examined(taken).findings if each.code == code)
    return found


def test_a_good_server_and_a_good_role_are_well() -> None:
    report = examined(healthy())
    assert (report.status, report.findings) == (Status.OK, ())
    assert report.table
    assert {row[0] for row in report.table.rows} == {"OK"}
    assert report.summary["points"] == len(report.table.rows)


def test_every_point_has_a_status_and_a_code_that_is_declared() -> None:
    table = examined(healthy(gaps=(Gap(Fact.STATES, "hidden", "GRANT x"),))).table
    assert table
    for status, code, _, value in table.rows:
        assert status in Status.__members__
        assert code in doctor.CODES
        assert value


@pytest.mark.parametrize(
    ("base", "guard", "code", "hint"),
    [
        (POSTGRESQL, Guard("idle_in_transaction_session_timeout", 0.0), "CA701", "ALTER ROLE ... SET"),
        (POSTGRESQL, Guard("idle_session_timeout", 0.0), "CA702", "ALTER SYSTEM SET idle_session_timeout"),
        (MARIADB, Guard("idle_transaction_timeout", 0.0), "CA701", "SET GLOBAL idle_transaction_timeout"),
        (MARIADB, Guard("wait_timeout", 28800.0), "CA702", "SET GLOBAL wait_timeout = 600"),
        (MYSQL, Guard("wait_timeout", 3601.0), "CA702", "SET PERSIST wait_timeout"),
        (MYSQL, Guard("lock_wait_timeout", 86400.0), "CA704", "lock_wait_timeout = 60"),
    ],
)
def test_a_setting_that_invites_leaks_is_a_warning_with_the_statement_to_run(
    base: Server, guard: Guard, code: str, hint: str
) -> None:
    found = finding(healthy(server=server(base), guards=(guard,)), code)
    assert (found.status, hint in (found.hint or "")) == (Status.WARNING, True)


@pytest.mark.parametrize(
    ("base", "guard"),
    [
        (POSTGRESQL, Guard("idle_in_transaction_session_timeout", 1.0)),
        (POSTGRESQL, Guard("statement_timeout", 0.0)),
        (MYSQL, Guard("wait_timeout", 3600.0)),
        (MYSQL, Guard("lock_wait_timeout", 86399.0)),
        (MYSQL, Guard("idle_transaction_timeout", None)),
    ],
)
def test_a_setting_that_is_well_or_a_matter_of_taste_is_told_and_not_judged(base: Server, guard: Guard) -> None:
    report = examined(healthy(server=server(base), guards=(guard,)))
    assert report.status is Status.OK
    assert report.table
    assert guard.name in [row[2] for row in report.table.rows]


def test_where_nobody_may_alter_the_system_the_parameters_of_the_instance_are_named() -> None:
    guard = Guard("idle_in_transaction_session_timeout", 0.0)
    hint = finding(healthy(server=server(features=("rds",)), guards=(guard,)), "CA701").hint
    assert hint
    assert "ALTER SYSTEM" not in hint
    assert "parameters of the instance" in hint


@pytest.mark.parametrize(("idle", "status"), [(840.0, Status.OK), (841.0, Status.WARNING), (7200.0, Status.WARNING)])
def test_clients_that_vanish_are_to_be_noticed_within_a_quarter_of_an_hour(idle: float, status: Status) -> None:
    times = {"idle": idle, "interval": 10.0, "count": 6.0}
    guards = tuple(Guard(f"tcp_keepalives_{part}", value) for part, value in times.items())
    assert examined(healthy(guards=guards)).status is status


def test_a_role_that_switches_a_guard_off_is_a_warning_and_one_with_a_value_of_its_own_is_not() -> None:
    name = "idle_in_transaction_session_timeout"
    guards = (Guard(name, 300.0, overrides=(("backup", 0.0), ("report", 60.0))),)
    found = finding(healthy(guards=guards), "CA705")
    assert found.message.startswith("backup has")
    off = (Guard(name, 0.0, overrides=(("backup", 0.0),)),)
    assert [each.code for each in examined(healthy(guards=off)).findings] == ["CA701"]


def test_what_is_hidden_is_told_once_for_each_cure() -> None:
    gaps = (
        Gap(Fact.STATES, "3 of 5 sessions hidden", "GRANT pg_monitor TO monitor"),
        Gap(Fact.QUERIES, "3 of 5 sessions hidden", "GRANT pg_monitor TO monitor"),
        Gap(Fact.SESSIONS, "no names", "performance_schema=ON", partial=True),
    )
    blind = Auditor("monitor", sees_all=False, grant="GRANT pg_monitor TO monitor")
    found = examined(healthy(gaps=gaps, auditor=blind)).findings
    assert [(each.status, each.hint) for each in found if each.code == "CA801"] == [
        (Status.CRITICAL, "GRANT pg_monitor TO monitor"),
        (Status.WARNING, "performance_schema=ON"),
    ]


def test_a_missing_grant_is_told_even_while_there_is_nobody_to_see() -> None:
    found = finding(healthy(auditor=Auditor("m", sees_all=False, grant="GRANT pg_monitor TO m")), "CA801")
    assert (found.status, found.hint) == (Status.CRITICAL, "GRANT pg_monitor TO m")


@pytest.mark.parametrize(
    ("base", "hint"),
    [
        (POSTGRESQL, "GRANT pg_use_reserved_connections TO monitor"),
        (MARIADB, "extra_port = 3307"),
        (server(MARIADB, features=("extra_port",)), "name the extra port"),
        (MYSQL, "GRANT CONNECTION_ADMIN ON *.* TO monitor"),
    ],
)
def test_a_role_that_a_full_server_turns_away_is_told_the_way_in(base: Server, hint: str) -> None:
    role = Auditor("monitor", sees_all=True, reserve=False)
    assert hint in (finding(healthy(server=server(base), auditor=role, guards=()), "CA804").hint or "")


def test_before_postgresql_16_there_is_no_way_in_and_no_warning() -> None:
    role = Auditor("monitor", sees_all=True, reserve=False)
    assert examined(healthy(server=server(version=(15, 2)), auditor=role)).status is Status.OK


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"server": server(tls=False)}, "CA802"),
        ({"auditor": Auditor("postgres", superuser=True, sees_all=True, reserve=True)}, "CA803"),
        ({"server": server(via_pooler=True)}, "CA805"),
        ({"server": server(encoding="SQL_ASCII")}, "CA806"),
        ({"stages": (("dns", 2.1),)}, "CA902"),
    ],
)
def test_what_stands_in_the_way_of_a_good_audit_is_a_warning(more: dict[str, Any], code: str) -> None:
    assert [each.code for each in examined(healthy(**more)).findings] == [code]


@pytest.mark.parametrize("host", ["/var/run/postgresql", "@mysql", "127.0.0.1", "localhost", "::1"])
def test_what_does_not_leave_the_machine_needs_no_encryption(host: str) -> None:
    here = healthy(server=server(tls=False), address=Address(host, 5432, "shop", "monitor"))
    assert examined(here).status is Status.OK


def test_what_was_not_told_is_not_judged() -> None:
    report = examined(healthy(auditor=None, guards=()))
    assert report.status is Status.OK
    assert (report.summary["superuser"], report.summary["reserve"]) == (None, None)


def test_further_points_count_into_verdict_and_numbers() -> None:
    report = examined(healthy())
    more = doctor.with_points(
        report, [Point(Status.WARNING, "CA808", "cron", "PGPASSWORD", "not set by cron", "a file")]
    )
    assert (more.status, more.summary["warnings"]) == (Status.WARNING, 1)
    assert more.summary["points"] == report.summary["points"] + 1
    assert more.headline == f"1 point of {more.summary['points']} to be looked at"
