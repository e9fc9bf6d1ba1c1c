"""What each supported server told once, as `make record` keeps it: every diagnostic and every format must take it."""

import json
from functools import cache
from typing import Any

import pytest

from connaudit.audit import Ask, Plan, judged
from connaudit.diagnostics import NAMES, diagnostic
from connaudit.options import Options
from connaudit.render import FORMATS, Run, Style, render
from connaudit.report import Outcome, Report, Status, worst
from connaudit.snapshot import Fact, Snapshot
from connaudit.targets import Host, Target
from tests.record import DIRECTORY

RECORDED = sorted(path.stem for path in DIRECTORY.glob("*.json"))
MONITORS = [name for name in RECORDED if not name.endswith("-plain")]
PROMISED = {
    *(f"postgres-{major}" for major in range(12, 20)),
    "mysql-9.7",
    *(f"mariadb-{version}" for version in ("10.5", "10.11", "11.8")),
    *(f"pgbouncer-{version}" for version in ("1.15", "1.18", "1.24", "1.26")),
}


@cache
def recorded(name: str) -> Snapshot:
    text = (DIRECTORY / f"{name}.json").read_text(encoding="ascii")
    return Snapshot.from_json(json.loads(text))


def outcomes(name: str, *checks: str) -> tuple[Outcome, ...]:
    taken = recorded(name)
    target = Target(taken.target, taken.server.engine, (Host(taken.address.host, taken.address.port),))
    asks = tuple(Ask(diagnostic(check), _options(check)) for check in checks)
    return judged(target, [taken], Plan(asks))


def _options(check: str) -> Options:
    """Return the defaults, but for ages: what was recorded is young."""
    own: Any = diagnostic(check).options
    return own(min_age=0.0) if hasattr(own(), "min_age") else own()  # type: ignore[no-any-return]


def run(command: str, found: tuple[Outcome, ...]) -> Run:
    status = worst(outcome.status for outcome in found)
    return Run(command, "0", "2026-11-23T00:00:00.000Z", 100, status, int(status), found)


def test_every_supported_server_is_recorded() -> None:
    assert set(MONITORS) == PROMISED
    assert {f"{name}-plain" for name in PROMISED} == set(RECORDED) - PROMISED


@pytest.mark.parametrize("name", RECORDED)
def test_a_recording_is_small_and_tells_nothing_of_where_it_was_made(name: str) -> None:
    text = (DIRECTORY / f"{name}.json").read_text(encoding="ascii")
    assert len(text) < 20_000
    assert "tmp" not in text
    assert "s3cr3t" not in text
    assert recorded(name).facts == frozenset(Fact)
    assert json.loads(text) == json.loads(json.dumps(recorded(name).to_json()))


@pytest.mark.parametrize("check", NAMES)
@pytest.mark.parametrize("name", RECORDED)
def test_every_diagnostic_and_every_format_takes_every_recording(name: str, check: str) -> None:
    found = outcomes(name, check)
    (report,) = found
    assert isinstance(report, Report)
    for format_ in FORMATS:
        for style in (Style(), Style(width=80, is_terminal=True, color=True, unicode=True, verbose=True)):
            text = render(format_, run(check, found), style)
            assert name.removesuffix("-plain") in text


@pytest.mark.parametrize("name", RECORDED)
def test_every_format_takes_all_checks_of_a_recording(name: str) -> None:
    found = outcomes(name, *NAMES)
    assert len(found) == len(NAMES)
    for format_ in FORMATS:
        assert render(format_, run("check", found), Style())


@pytest.mark.parametrize("name", MONITORS)
def test_a_monitor_was_told_who_is_idle_in_transaction_and_who_waits(name: str) -> None:
    idle, blocked = (_report(name, check) for check in ("idle-tx", "blocking"))
    assert _count(idle, "idle_in_transaction") >= 2
    assert _count(blocked, "waiting") >= 2


@pytest.mark.parametrize("name", sorted(set(RECORDED) - set(MONITORS)))
def test_a_role_without_grants_comes_to_no_verdict(name: str) -> None:
    for check in ("idle-tx", "long-queries"):
        assert _report(name, check).status is Status.UNKNOWN
    assert _report(name, "count").source.visibility == "partial"


def _report(name: str, check: str) -> Report:
    (report,) = outcomes(name, check)
    assert isinstance(report, Report)
    return report


def _count(report: Report, key: str) -> int:
    summary: Any = report.summary
    return int(summary[key])
