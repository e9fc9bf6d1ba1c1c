"""One run, on its way into the history: each target in numbers, its sessions counted by group."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import NamedTuple

from connaudit.dataclass import dataclass
from connaudit.errors import TargetError
from connaudit.history import statements as sql
from connaudit.history.database import Work
from connaudit.snapshot import Session, Snapshot
from connaudit.units import instant

Scrub = Callable[[str], str]


class Group(NamedTuple):
    """Whose connections; None: not told."""

    db: str | None
    user: str | None
    app: str | None
    client: str | None
    state: str | None


@dataclass(frozen=True, slots=True)
class Tally:
    """How many sessions a group has, and for how many seconds the oldest is in its state; None: not told."""

    sessions: int
    oldest: int | None


@dataclass(frozen=True, slots=True)
class Sample:
    """One target in one run. `error` is the kind of a failure; None: it answered."""

    target: str
    error: str | None = None
    described: tuple[str, str, str, str] | None = None  # engine, product, version, address; None: it never told
    used: int | None = None  # without our own connection
    usable: int | None = None
    started: int | None = None
    groups: Mapping[Group, Tally] = field(default_factory=dict)


def sampled(target: str, taken: Snapshot | TargetError, scrub: Scrub) -> Sample:
    """Return what a target told in numbers; every text has been through `scrub`."""
    if isinstance(taken, TargetError):
        return Sample(scrub(target), error=taken.kind)
    server, capacity = taken.server, taken.capacity
    described = (server.engine, server.product, server.version_text, str(taken.address))
    engine, product, version, address = map(scrub, described)
    return Sample(
        target=scrub(target),
        described=(engine, product, version, address),
        used=None if capacity.used is None else max(0, capacity.used - 1),
        usable=capacity.usable,
        started=None if server.started_at is None else round(instant(server.started_at)),
        groups=_groups(taken, scrub),
    )


def _groups(taken: Snapshot, scrub: Scrub) -> dict[Group, Tally]:
    members: dict[Group, list[float | None]] = {}
    for session in taken.clients:
        members.setdefault(_group(session, scrub), []).append(session.state_age)
    return {group: Tally(len(ages), _oldest(ages)) for group, ages in members.items()}


def _group(session: Session, scrub: Scrub) -> Group:
    texts = (session.database, session.user, session.program, session.client)
    db, user, app, client = (None if text is None else scrub(text) for text in texts)
    return Group(db, user, app, client, session.state.value if session.state else None)


def _oldest(ages: Sequence[float | None]) -> int | None:
    told = [age for age in ages if age is not None]
    return round(max(told)) if told else None


def add(work: Work, samples: Sequence[Sample], at: int) -> None:
    """Store a run under the first free millisecond from `at` on."""
    answered = sum(sample.error is None for sample in samples)
    while not work.run(sql.ADD_RUN, (at, len(samples), answered)):
        at += 1
    targets = _target_ids(work, samples)
    for sample in sorted(samples, key=lambda sample: sample.target):  # one order for all: nobody waits in a circle
        target = targets[sample.target]
        if sample.described:
            work.run(sql.UPDATE_TARGET, (*sample.described, sample.target, *sample.described))
        up = int(sample.error is None)
        work.run(sql.ADD_TARGET_SAMPLE, (target, at, up, sample.error, sample.used, sample.usable, sample.started))
        groups = _group_ids(work, target, sample.groups)
        rows = sorted((at, groups[group], tally.sessions, tally.oldest) for group, tally in sample.groups.items())
        work.run_many(sql.ADD_SAMPLE, rows)


def numbers(work: Work, statement: str, values: Sequence[int] = ()) -> dict[str, int]:
    """Return the numbers that names have in the history."""
    return {name: number for name, number in work.rows(statement, values)}  # noqa: C416 - rows are of any width


def _target_ids(work: Work, samples: Sequence[Sample]) -> dict[str, int]:
    """Return the number of each target; new ones get theirs."""
    ids = numbers(work, sql.TARGET_IDS)
    new = sorted({sample.target for sample in samples} - ids.keys())
    if new:
        work.run_many(sql.ADD_TARGET, [(name,) for name in new])
        ids = numbers(work, sql.TARGET_IDS)
    return ids


def _group_ids(work: Work, target: int, groups: Mapping[Group, Tally]) -> dict[Group, int]:
    """Return the number of each group; new ones get theirs."""
    names = {group: json.dumps([target, *group]) for group in groups}
    ids = numbers(work, sql.GROUP_IDS, (target,))
    new = sorted((name, target, *group) for group, name in names.items() if name not in ids)
    if new:
        work.run_many(sql.ADD_GROUP, new)
        ids = numbers(work, sql.GROUP_IDS, (target,))
    return {group: ids[name] for group, name in names.items()}
