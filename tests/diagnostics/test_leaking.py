"""What is a leak and what only looks like one: verdicts on recordings of real programs, and on simulated workers.

Time is compressed in the recordings: a connection is idle for long after 5 s in one look, after 2 s in a series.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import floor
from typing import Any

import pytest

from connaudit.diagnostics.apart import apart
from connaudit.diagnostics.leaking import Evidence, Scale, Verdict, chain, passed_over, standing, verdict, watched
from connaudit.diagnostics.leaks import Options, run, run_series
from connaudit.diagnostics.lives import lives
from connaudit.snapshot import Snapshot, State
from connaudit.units import instant
from tests.builders import session, snapshot
from tests.recorded import NAMES, Recording, recording
from tests.workers import connections, forgotten, looks, together

ONE_LOOK, SERIES = 5.0, 2.0  # T, in seconds
LEAKS = [name for name in NAMES if recording(name).kind == "leak"]
HEALTHY = [name for name in NAMES if recording(name).kind == "healthy"]
BOUNDED = [name for name in NAMES if recording(name).kind == "bounded-leak"]
IN_TRANSACTION = [name for name in NAMES if recording(name).kind == "idle-in-transaction"]
GRAVEST = ("leak", "suspect", "in transaction", "fine")


def verdicts(snapshots: Sequence[Snapshot], idle: float, **asked: object) -> list[Verdict]:
    report = run_series(snapshots, Options(idle_age=idle, **asked))  # type: ignore[arg-type]
    assert report.table
    words = [str(row["verdict"]) for row in report.table.records()]
    return [Verdict(word) for word in words if not word.startswith("apart")]


def gravest(found: Iterable[Verdict]) -> str:
    """Return what a reader would take home."""
    kinds = {
        "leak" if one.is_leak else "suspect" if one.is_suspect else "in transaction"
        if one is Verdict.IDLE_IN_TRANSACTION else "fine"
        for one in found
    }  # fmt: skip
    return next((kind for kind in GRAVEST if kind in kinds), "fine")


def late(name: str) -> list[Snapshot]:
    """Return the looks of a recording from the moment on at which anything can have been idle for long."""
    began = instant(recording(name).snapshots[0].taken_at)
    return [look for look in recording(name).snapshots if instant(look.taken_at) - began >= ONE_LOOK]


@pytest.mark.parametrize("name", LEAKS)
def test_a_series_proves_every_leak(name: str) -> None:
    assert gravest(verdicts(recording(name).snapshots, SERIES)) == "leak"


@pytest.mark.parametrize("name", HEALTHY)
def test_a_series_calls_no_healthy_program_a_leak(name: str) -> None:
    assert gravest(verdicts(recording(name).snapshots, SERIES)) == "fine"


@pytest.mark.parametrize("name", IN_TRANSACTION)
def test_connections_kept_in_a_transaction_are_that(name: str) -> None:
    assert Verdict.IDLE_IN_TRANSACTION in verdicts(recording(name).snapshots, SERIES)


@pytest.mark.parametrize("name", BOUNDED)
def test_what_keeps_a_bounded_number_is_no_leak_but_may_be_too_many(name: str) -> None:
    kept = recording(name)
    assert gravest(verdicts(kept.snapshots, SERIES)) == "fine"
    most = max(len(look.clients) for look in kept.snapshots)
    assert Verdict.EXCESS in verdicts(kept.snapshots, SERIES, bound=(("", most // 2),))


def test_collected_as_garbage_or_growing_for_ever() -> None:
    found = {name: verdicts(recording(name).snapshots, SERIES)[0] for name in LEAKS}
    lingering = {name for name, first in found.items() if first is Verdict.LINGERING}
    assert lingering == {"asgi_age60", "executor_per_request", "thread_per_task"}
    assert {found[name] for name in set(LEAKS) - lingering} == {Verdict.GROWING}


def test_one_look_is_seldom_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    table = {name: Counter(gravest(verdicts([look], ONE_LOOK)) for look in late(name)) for name in NAMES}
    with capsys.disabled():
        print_confusion(table)
    right = sum(table[name]["leak"] for name in LEAKS)
    wrong = sum(table[name]["leak"] for name in NAMES if name not in LEAKS)
    assert right / (right + wrong) > 0.95
    assert right >= 60
    seen = sum(table[name]["leak"] + table[name]["suspect"] for name in LEAKS)
    assert seen / sum(table[name].total() for name in LEAKS) > 0.6


def print_confusion(one_look: dict[str, Counter[str]]) -> None:
    lines = [f"\n{'':47}{'SERIES':>15}  IN ONE LOOK: " + "".join(f"{kind:>16}" for kind in GRAVEST)]
    for name in sorted(NAMES, key=lambda name: (recording(name).kind, name)):
        kind = gravest(verdicts(recording(name).snapshots, SERIES))
        counts = "".join(f"{one_look[name][each]:>16}" for each in GRAVEST)
        lines.append(f"{recording(name).kind:>20} {name:>26} {kind:>15}{'':>13}{counts}")
    sys.stdout.write("\n".join(lines) + "\n")


@pytest.mark.parametrize("name", [*HEALTHY, *BOUNDED])
def test_no_part_of_a_healthy_recording_is_a_leak(name: str) -> None:
    whole = recording(name).snapshots
    parts = [whole[start : start + length] for start in range(0, len(whole) - 10, 5) for length in (15, 20, 30, 40)]
    assert [len(part) for part in parts if gravest(verdicts(part, SERIES)) == "leak"] == []


@pytest.mark.parametrize("every", [2, 3, 5])
@pytest.mark.parametrize("name", [*LEAKS, *HEALTHY])
def test_fewer_looks_lead_to_the_same_verdict(name: str, every: int) -> None:
    found = gravest(verdicts(recording(name).snapshots[::every], SERIES))
    assert (found == "leak") == (name in LEAKS)


@pytest.mark.parametrize("healthy", ["healthy_none", "pool_django", "sa_pool", "ramp_none", "pool_idle"])
@pytest.mark.parametrize("leak", [name for name in LEAKS if name != "mixed"])
def test_a_leak_is_found_inside_healthy_traffic_of_the_same_name(leak: str, healthy: str) -> None:
    pairs = zip(recording(healthy).snapshots, recording(leak).snapshots, strict=False)
    together = [with_the_sessions_of(look, other) for look, other in pairs]
    assert gravest(verdicts(together, SERIES)) == "leak"


def with_the_sessions_of(look: Snapshot, other: Snapshot) -> Snapshot:
    """Return a look in which the clients of both are one application."""
    ours = [replace(s, application="web") for s in look.clients if apart(s) is None]
    theirs = [replace(s, id=s.id + 10**6, application="web") for s in other.clients]
    return replace(look, sessions=(*ours, *theirs))


def test_a_leak_of_the_same_name_in_one_program_is_found() -> None:
    renamed = [
        replace(look, sessions=tuple(replace(s, application="") for s in look.sessions if apart(s) is None))
        for look in recording("mixed").snapshots
    ]
    assert gravest(verdicts(renamed, SERIES)) == "leak"


def test_a_bound_clears_workers_with_little_traffic() -> None:
    bound = (("*", recording("lowtraffic_sync_none").threads),)
    without = Counter(gravest(verdicts([look], ONE_LOOK)) for look in late("lowtraffic_sync_none"))
    held = Counter(gravest(verdicts([look], ONE_LOOK, bound=bound)) for look in late("lowtraffic_sync_none"))
    assert without["suspect"] > 10
    assert set(held) == {"fine"}


def test_idle_by_design_stands_apart_and_is_judged_only_if_asked() -> None:
    looks = recording("odd_actors").snapshots
    report = run_series(looks, Options(idle_age=SERIES))
    assert {key: report.summary[key] for key in ("listeners", "locks", "tools")} == {
        "listeners": 3,
        "locks": 1,
        "tools": 3,
    }
    assert len(verdicts(looks, SERIES, include=("listener", "lock", "tool"))) > len(verdicts(looks, SERIES))


def told_by_mysql(name: str) -> list[Snapshot]:
    """Return a recording as MySQL would tell it: numbered connections, whole seconds, no openings, no statements."""
    whole = recording(name).snapshots
    openings = sorted({str(s.started_at) for look in whole for s in look.clients})

    def looked(look: Snapshot) -> Snapshot:
        told = (
            replace(
                s,
                id=1000 + openings.index(str(s.started_at)),
                started_at=None,
                connection_age=None,
                state_age=None if s.state_age is None else float(floor(s.state_age)),
                query=None,
            )
            for s in look.clients
        )
        return replace(look, sessions=tuple(told))

    return [looked(look) for look in whole]


@pytest.mark.parametrize("name", [*LEAKS, *HEALTHY])
def test_a_series_proves_leaks_where_nobody_tells_when_a_connection_was_opened(name: str) -> None:
    assert (gravest(verdicts(told_by_mysql(name), SERIES)) == "leak") == (name in LEAKS)


def test_one_look_at_such_a_server_suspects_and_says_why() -> None:
    table = {name: Counter(gravest(verdicts([at], ONE_LOOK)) for at in told_by_mysql(name)[5:]) for name in NAMES}
    assert not [name for name in NAMES if table[name]["leak"]]
    assert not [name for name in HEALTHY if table[name]["suspect"]]
    assert sum(table[name]["suspect"] for name in LEAKS) > 50
    details = run(told_by_mysql("raw_kept")[-1], Options(idle_age=ONE_LOOK)).details
    assert any("does not tell when a connection was opened" in line for line in details)


SEEDS = range(20)


def watch(seed: int, *, after: float = 0.0, **workers: Any) -> list[Snapshot]:
    """Return a minute of workers that were started `after` seconds before."""
    return looks(connections(seed, until=after + 60, **workers), after, 60)


def test_workers_that_keep_a_connection_are_no_leak(capsys: pytest.CaptureFixture[str]) -> None:
    lines, wrong = [], Counter[int]()
    for workers in (4, 8, 16, 32):
        for rate in (0.1, 0.3, 1.0, 10.0):
            watches = [watch(seed, workers=workers, rate=rate) for seed in SEEDS]
            found = Counter(gravest(verdicts(each, 3.0)) for each in watches)
            look = Counter(gravest(verdicts(each[-1:], 5.0)) for each in watches)
            lines.append(f"{workers:>8} workers {rate:>5}/s  series {dict(found)}  one look {dict(look)}")
            wrong[workers] += found["leak"] + look["leak"]
    with capsys.disabled():
        sys.stdout.write("\n".join(("\nstarted when the watch begins, requests at random:", *lines)) + "\n")
    assert wrong[4] + wrong[8] == 0
    assert wrong.total() / (16 * 2 * len(SEEDS)) < 0.02


@pytest.mark.parametrize("workers", [8, 32])
@pytest.mark.parametrize("rate", [0.3, 1.0, 3.0])
def test_connections_that_are_opened_anew_after_a_fixed_time_are_no_leak(workers: int, rate: float) -> None:
    watches = [watch(seed, workers=workers, rate=rate, after=300, most_age=10) for seed in SEEDS]
    assert Counter(gravest(verdicts(each, 3.0)) for each in watches)["fine"] > 15
    begun = [watch(seed, workers=workers, rate=max(rate, 1.0), most_age=5) for seed in SEEDS]
    assert Counter(gravest(verdicts(each, 3.0)) for each in begun)["leak"] == 0


@pytest.mark.parametrize("rate", [3.0, 10.0])
def test_workers_that_are_seldom_asked_are_no_leak_beside_busy_ones(rate: float) -> None:
    watches = [watch(seed, workers=64, rate=rate, skew=1.0) for seed in SEEDS]
    assert Counter(gravest(verdicts(each, 3.0)) for each in watches)["leak"] == 0


def beside_busy(seed: int, **workers: Any) -> list[Snapshot]:
    """Return a minute of workers that are started when it begins, beside busy ones of the same name."""
    others = connections(seed + 1000, begin=30, until=90, **workers)
    return looks(together(connections(seed, workers=4, rate=8, until=90), others), 30, 60)


@pytest.mark.parametrize("rate", [0.2, 0.4, 0.8])
@pytest.mark.parametrize("workers", [16, 64])
def test_workers_that_were_started_just_now_are_no_leak_beside_busy_ones(workers: int, rate: float) -> None:
    watches = [beside_busy(seed, workers=workers, rate=rate) for seed in SEEDS]
    assert Counter(gravest(verdicts(each, 3.0)) for each in watches)["leak"] <= 1


@pytest.mark.parametrize("rate", [0.5, 2.0])
def test_members_of_pools_that_are_closed_when_idle_are_no_leak_beside_busy_ones(rate: float) -> None:
    watches = [beside_busy(seed, workers=16, rate=rate, most_idle=10) for seed in SEEDS]
    assert Counter(gravest(verdicts(each, 3.0)) for each in watches)["leak"] <= 1


@pytest.mark.parametrize("traffic", [1.0, 8.0])
@pytest.mark.parametrize(("rate", "collected"), [(1.0, None), (1.0, 16), (3.0, 20)])
def test_a_leak_is_found_beside_traffic_of_the_same_name(rate: float, collected: int | None, traffic: float) -> None:
    for seed in SEEDS:
        healthy = connections(seed + 1000, workers=4, rate=traffic, until=90)
        leak = forgotten(seed, rate=rate, until=90, collected=collected)
        assert gravest(verdicts(looks(together(healthy, leak), 30, 60), 3.0)) == "leak", seed


def alive(seconds_open: float, idle_for: float, id: int = 2) -> Snapshot:
    return snapshot(session(id=id, in_state=idle_for, connection_age=seconds_open))


@pytest.mark.parametrize(("idle_for", "stale"), [(599.9, 0), (600.0, 1)])
def test_ten_minutes_are_long(idle_for: float, stale: int) -> None:
    report = run(alive(idle_for + 1, idle_for), Options())
    assert report.table
    assert report.table.records()[0]["stale"] == stale


def test_a_chain_needs_a_margin_between_last_use_and_next_opening() -> None:
    at = instant("2026-11-22T10:58:01Z")
    pairs = [(session(id=i, in_state=100.0 - 10 * i, connection_age=100.0 - 10 * i + 0.5)) for i in range(5)]
    five = lives([snapshot(*pairs, taken_at="2026-11-22T10:58:01Z")])
    assert at - (five[0].opened or 0) == pytest.approx(100.5)
    assert (chain(five, margin=9.5), chain(five, margin=9.6)) == (5, 3)
    assert (passed_over(five, five, margin=9.5), passed_over(five, five, margin=9.6)) == (10, 6)


def test_processes_are_no_chain_of_each_other() -> None:
    five = lives(
        [
            snapshot(
                *(
                    session(
                        id=i, in_state=100.0 - 10 * i, connection_age=101.0 - 10 * i, attributes=(("_pid", str(i)),)
                    )
                    for i in range(5)
                )
            )
        ]
    )
    assert chain(five, 1.0) == 1
    assert passed_over(five, five, 1.0) == 0


def leaked(count: int, every: float = 10.0) -> list[Snapshot]:
    """Return one look at connections each used once, one opened every so many seconds."""
    ages = [1000.0 + every * (count - i) for i in range(count)]
    return [snapshot(*(session(id=i, in_state=age, connection_age=age + 0.5) for i, age in enumerate(ages, 2)))]


def test_nine_forsaken_connections_are_not_enough_in_one_look_and_ten_are() -> None:
    assert verdicts(leaked(9), 600.0) == [Verdict.SUSPECT]
    assert verdicts(leaked(10), 600.0) == [Verdict.GROWING]


def test_within_its_bound_nothing_is_more_than_suspect() -> None:
    assert verdicts(leaked(10), 600.0, bound=(("web", 10),)) == [Verdict.SUSPECT]
    assert verdicts(leaked(10), 600.0, bound=(("web", 9),)) == [Verdict.GROWING]


@pytest.mark.parametrize(("count", "found"), [(11, Verdict.PARKED), (12, Verdict.EXCESS)])
def test_a_quarter_and_one_above_the_bound_are_too_many(count: int, found: Verdict) -> None:
    together = snapshot(*(session(id=i, in_state=1000.0, connection_age=2000.0) for i in range(2, count + 2)))
    assert verdicts([together], 600.0, bound=(("web", 8),)) == [found]


def test_what_nobody_ever_used_is_no_evidence_in_one_look() -> None:
    (look,) = leaked(10)
    for query in ("", "SELECT set_config('TimeZone', 'UTC', false)", "SET TIME ZONE 'UTC'"):
        unused = replace(look, sessions=tuple(replace(s, query=query) for s in look.sessions))
        assert verdicts([unused], 600.0) == [Verdict.SUSPECT]
        report = run(unused, Options())
        assert report.table
        assert report.table.records()[0]["never_used"] == 10


def test_too_many_that_were_never_used_make_it_a_suspicion() -> None:
    (look,) = leaked(10)
    unused = [session(id=100 + i, in_state=900.0, connection_age=900.0, query="") for i in range(7)]
    assert verdicts([replace(look, sessions=(*look.sessions, *unused[:6]))], 600.0) == [Verdict.GROWING]
    assert verdicts([replace(look, sessions=(*look.sessions, *unused))], 600.0) == [Verdict.SUSPECT]


def test_a_pool_is_parked_when_nine_in_ten_of_it_lie_idle() -> None:
    quiet = [session(id=10 + i, in_state=700.0, connection_age=3600.0) for i in range(9)]
    at_work = [session(id=30 + i, in_state=1.0, connection_age=3600.0) for i in range(2)]
    assert verdicts([snapshot(*quiet, *at_work[:1])], 600.0) == [Verdict.PARKED]
    assert verdicts([snapshot(*quiet, *at_work)], 600.0) == [Verdict.POOL]


def test_a_quiet_series_does_not_take_back_what_one_look_shows() -> None:
    (look,) = leaked(10)
    later = replace(
        look,
        taken_at="2026-11-22T10:58:31.311Z",
        sessions=tuple(
            replace(s, state_age=(s.state_age or 0) + 30, connection_age=(s.connection_age or 0) + 30)
            if s.state is State.IDLE else s
            for s in look.sessions
        ),
    )  # fmt: skip
    assert verdicts([look, later], 600.0) == [Verdict.GROWING]


def test_a_restart_of_the_server_begins_the_series_anew() -> None:
    kept: Recording = recording("raw_kept")
    restarted = replace(kept.snapshots[0].server, started_at="2026-11-22T10:58:30Z")
    before = [
        replace(look, server=replace(look.server, started_at="2026-11-01T00:00:00Z")) for look in kept.snapshots[:30]
    ]
    after = [replace(look, server=restarted) for look in kept.snapshots[30:32]]
    report = run_series([*before, *after], Options(idle_age=SERIES))
    assert report.summary["looks"] == 2
    assert any("restarted within the series: 30 looks" in line for line in report.details)


def test_a_pid_that_was_given_again_is_another_connection() -> None:
    first = session(id=7, in_state=50.0, connection_age=51.0, started_at="a")
    second = session(id=7, in_state=0.5, connection_age=0.6, started_at="b")
    found = lives([snapshot(first, taken_at="2026-11-22T10:58:01Z"), snapshot(second, taken_at="2026-11-22T10:58:02Z")])
    assert [(life.gone is None, life.used_again) for life in found] == [(False, 0), (True, 0)]


def test_a_session_whose_age_is_told_in_whole_seconds_beside_exact_ones_was_not_used_for_that() -> None:
    """MySQL tells exactly since when a session is idle once it has run something."""
    taken = [
        snapshot(session(id=2, in_state=60.2 + t), session(id=3, in_state=float(floor(30.5 + t))), taken_at=at)
        for t, at in ((0.0, "2026-11-22T10:58:01.0Z"), (2.7, "2026-11-22T10:58:03.7Z"), (5.4, "2026-11-22T10:58:06.4Z"))
    ]
    assert [life.used_again for life in lives(taken)] == [0, 0]


def test_evidence_of_a_group_that_is_gone_is_kept() -> None:
    whole = recording("thread_per_task").snapshots
    empty = replace(whole[-1], sessions=(), taken_at="2026-11-22T10:52:30.000Z")
    members = lives([*whole, empty])
    times = [instant(look.taken_at) for look in (*whole, empty)]
    scale = Scale.of(SERIES)
    evidence = Evidence(standing(members, times[-1], scale), watched(members, times, scale), None)
    assert evidence.standing.sessions == 0
    assert verdict(evidence) is Verdict.LINGERING
