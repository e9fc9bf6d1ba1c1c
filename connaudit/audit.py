"""Targets x diagnostics -> outcomes: the wire between the three verbs.

One snapshot of a target feeds every diagnostic of a run, so that all its numbers agree. A target that could not be
audited is a `Failure` in its place, and never delays or spoils another. What a diagnostic needed and could not see
makes its verdict UNKNOWN, by one rule for all of them: see `settled`.
"""

import difflib
import itertools
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from connaudit.dataclass import dataclass
from connaudit.diagnostics import Diagnostic
from connaudit.engines import ENGINES, Budget, Taken, engine, sockets
from connaudit.errors import NameUnknown, NoDatabase, NoSlotsLeft, QueryFailed, Refused, TargetError, TimedOut
from connaudit.options import Options
from connaudit.report import Failure, Outcome, Report, Source, Status, worst
from connaudit.snapshot import Fact, Gap, Snapshot
from connaudit.targets import Target
from connaudit.units import instant

UNREACHABLE = (NameUnknown, Refused, TimedOut)


@dataclass(frozen=True, slots=True)
class Ask:
    """One diagnostic with what it is asked."""

    diagnostic: Diagnostic
    options: Options


@dataclass(frozen=True, slots=True)
class Suppression:
    """Findings of a code that somebody has decided to live with, and why."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What one target is asked, and what counts as what where nothing could be seen."""

    asks: tuple[Ask, ...]
    on_unreachable: Status = Status.UNKNOWN
    allow_partial: bool = False  # True: judge what is visible; what is hidden makes no UNKNOWN
    suppressed: tuple[Suppression, ...] = ()
    refused: TargetError | None = None  # why it cannot even be tried: its password could not be fetched


Plans = Callable[[Target], Plan]


Hear = Callable[[int, Taken], Taken]


def audit(
    targets: Sequence[Target],
    plans: Plans,
    budget: Budget,
    hear: Hear | None = None,
    also: frozenset[Fact] = frozenset(),
) -> list[tuple[Outcome, ...]]:
    """Return each target's outcomes in the order of the targets.

    `hear` is told what each target told, as it comes, and returns it with what else is known. `also` is read besides
    what the diagnostics ask for.
    """
    plan = [plans(target) for target in targets]
    outcomes: dict[int, tuple[Outcome, ...]] = {}
    servers: dict[int, object] = {}
    for index, taken in samples(targets, plan, budget, also):
        whole = hear(index, taken) if hear else taken
        outcomes[index] = judged(targets[index], (whole,), plan[index])
        if isinstance(whole, Snapshot):
            servers[index] = identity(whole)
    for first, others in _repeated(servers):
        outcomes[first] = _with_note(outcomes[first], [targets[index].name for index in others])
    return [outcomes[index] for index in range(len(targets))]


def identity(snapshot: Snapshot) -> object:
    """Return what two snapshots of one server have in common, by whatever address it was reached.

    PostgreSQL tells to the microsecond when it was started; MySQL to the second, so that there only the address counts.
    """
    server, address = snapshot.server, snapshot.address
    if server.engine == "postgresql" and server.started_at:
        return server.engine, server.started_at, server.version_text
    return server.engine, address.host, address.port


def _repeated(servers: Mapping[int, object]) -> Iterator[tuple[int, list[int]]]:
    """Yield the first place of each server that was looked at several times, and the others."""
    places: dict[object, list[int]] = {}
    for index, server in sorted(servers.items()):
        places.setdefault(server, []).append(index)
    yield from ((first, others) for first, *others in places.values() if others)


def _with_note(outcomes: tuple[Outcome, ...], names: Sequence[str]) -> tuple[Outcome, ...]:
    """Return the outcomes of a target, the first of which says that others are the same server."""
    report, *rest = outcomes
    if not isinstance(report, Report):
        return outcomes
    are = "is the same server" if len(names) == 1 else "are the same server"
    note = f"{', '.join(names)} {are}: a look at one sees the connections of those at the others"
    return replace(report, notes=(*report.notes, note)), *rest


def samples(
    targets: Sequence[Target], plan: Sequence[Plan], budget: Budget, also: frozenset[Fact]
) -> Iterator[tuple[int, Taken]]:
    """Yield what each target told, or why it told nothing; those that cannot even be tried come first."""
    tried = []
    for index, each in enumerate(plan):
        if each.refused:
            yield index, each.refused
        else:
            tried.append(index)
    for place, taken in taken_from([targets[index] for index in tried], facts_of(plan) | also, budget):
        yield tried[place], taken


def facts_of(plan: Iterable[Plan]) -> frozenset[Fact]:
    """Return what must be read for all that is asked."""
    return frozenset[Fact]().union(*(a.diagnostic.facts(a.options) for each in plan for a in each.asks))


def judged(target: Target, series: Sequence[Taken], plan: Plan) -> tuple[Outcome, ...]:
    """Return what the diagnostics say of one target, or its failure, by one sample of it or several.

    A diagnostic that knows what a series is judges all that was told, in the order of time; the others the last sample.
    """
    told = sorted((each for each in series if isinstance(each, Snapshot)), key=lambda each: instant(each.taken_at))
    by_series = all(ask.diagnostic.run_series for ask in plan.asks)
    last = told[-1] if told and by_series else series[-1]
    if isinstance(last, TargetError):
        return (failure(target, last, plan),)
    try:
        for ask in plan.asks:
            check_databases(ask.options, last)
    except NoDatabase as error:
        return (failure(target, error, plan),)
    reports = tuple(settled(ask, _run(ask, told, last), last, target, plan) for ask in plan.asks)
    if len(reports) > 1:
        from connaudit.diagnostics.story import together

        reports = together(reports, last)
    remarks = tuple(_remarks(series, by_series=by_series))
    return tuple(replace(report, notes=(*report.notes, *remarks)) if remarks else report for report in reports)


def _run(ask: Ask, told: Sequence[Snapshot], last: Snapshot) -> Report:
    if ask.diagnostic.run_series and len(told) > 1:
        return ask.diagnostic.run_series(told, ask.options)
    return ask.diagnostic.run(last, ask.options)


def _remarks(series: Sequence[Taken], *, by_series: bool) -> Iterator[str]:
    """Yield what a reader of a series must know: what of it was judged, and what is missing in it."""
    lost = [each for each in series if isinstance(each, TargetError)]
    if len(series) > 1 and not by_series:
        yield f"judged by the last of {len(series)} samples"
    if lost and by_series:
        yield f"{len(lost)} of {len(series)} samples failed, the last of them so: {lost[-1].message}"


def failure(target: Target, error: TargetError, plan: Plan) -> Failure:
    """Return the place of a target that could not be audited; a full server is CRITICAL, not unknown."""
    status = Status.UNKNOWN
    if isinstance(error, NoSlotsLeft):
        status = Status.CRITICAL
    elif isinstance(error, UNREACHABLE):
        status = plan.on_unreachable
    source = Source(target.name, target.origin, target.engine, target.location)
    return Failure(source, error, status, tuple(ask.diagnostic.name for ask in plan.asks))


def settled(ask: Ask, report: Report, snapshot: Snapshot, target: Target, plan: Plan) -> Report:
    """Return the report as far as its facts were told.

    A fact that the diagnostic needs and the server kept makes OK into UNKNOWN, and drops the metrics that would be a
    guess; what is known to be bad stays bad. A filter that matches no session at all is no OK either, unless somebody
    set a threshold on their number.
    """
    gaps = snapshot.gaps_in(ask.diagnostic.facts(ask.options))
    unseen = frozenset(gap.fact for gap in gaps if not gap.partial)
    report = without_suppressed(report, plan.suppressed)
    status, headline, value = report.status, report.headline, report.value
    if unseen & ask.diagnostic.needs and not plan.allow_partial:
        status = worst([status, Status.UNKNOWN])
        told = f"what is visible: {headline}"
        headline = f"{_why(gaps)}; {told}" if report.status is Status.OK else f"{headline}; {_why(gaps)}"
        value = f"visible: {value}" if value and report.status is Status.OK else value
    elif ask.diagnostic.needs and _matches_nobody(ask.options, snapshot) and not (report.table and report.table.rows):
        status = worst([status, Status.UNKNOWN])
        headline = f"no session matches the filter; {headline}"
        value = value and f"no session matches the filter; {value}"
    visibility = "partial" if unseen else "full"
    return replace(
        report,
        status=status,
        headline=headline,
        value=value,
        source=replace(report.source, target=target.name, origin=target.origin, visibility=visibility),
        metrics=tuple(m for m in report.metrics if not m.needs & unseen),
        gaps=gaps,
    )


def without_suppressed(report: Report, suppressed: Iterable[Suppression]) -> Report:
    """Return the report without the findings that somebody decided to live with; a note says that they were there.

    The verdict is then that of what is left; one that has no finding (a value that was not told) stays.
    """
    reasons = {each.code: each.reason for each in suppressed}
    left = tuple(finding for finding in report.findings if finding.code not in reasons)
    if len(left) == len(report.findings):
        return report
    gone = [finding for finding in report.findings if finding.code in reasons]
    notes = tuple(f"ignored {each.code}: {each.message} ({reasons[each.code]})" for each in gone)
    found = report.status if report.status is Status.UNKNOWN else worst(finding.status for finding in left)
    return replace(report, findings=left, status=found, notes=(*report.notes, *notes))


def _why(gaps: Iterable[Gap]) -> str:
    """Return the reasons of the facts that were kept, each once."""
    return "; ".join(dict.fromkeys(gap.why for gap in gaps if not gap.partial))


def _matches_nobody(options: Options, snapshot: Snapshot) -> bool:
    counted = any(c.metric.name == "count" for c in (*options.warning, *options.critical))
    return bool(options.only) and not counted and not any(map(options.only.passes, snapshot.clients))


def check_databases(options: Options, snapshot: Snapshot) -> None:
    """Raise NoDatabase where a filter names, without a wildcard, a database that the server does not have."""
    if not snapshot.databases:
        return
    for name in (*options.only.databases, *options.only.not_databases):
        if not set("*?[") & set(name) and name not in snapshot.databases:
            near = difflib.get_close_matches(name, snapshot.databases, 1)
            hint = f"did you mean {near[0]}?" if near else None
            raise NoDatabase(f"the filter names database {name!r}, which the server does not have", hint=hint)


def taken_from(targets: Sequence[Target], facts: frozenset[Fact], budget: Budget) -> Iterator[tuple[int, Taken]]:
    """Yield what each target told or why not, as it comes; every target is heard of exactly once."""
    groups: dict[str, list[int]] = {name: [] for name in ENGINES}
    for index, target in enumerate(targets):
        groups[target.engine].append(index)
    missing = set(range(len(targets)))
    parts = _parts({name: len(members) for name, members in groups.items() if members}, budget)
    streams = [_stream(name, [(i, targets[i]) for i in groups[name]], facts, part) for name, part in parts.items()]
    one_by_one = budget.jobs is not None and budget.jobs < len(streams)
    for index, taken in itertools.chain(*streams) if one_by_one else _merged(streams):
        missing.discard(index)
        yield index, taken
    for index in sorted(missing):
        yield index, QueryFailed("its engine ended without an answer")


def _parts(sizes: Mapping[str, int], budget: Budget) -> dict[str, Budget]:
    """Return each engine's part of the budget: together they have no more open than one alone would."""
    most, total = sockets(), sum(sizes.values())

    def part(whole: int, size: int) -> int:
        return max(1, whole * size // total)

    return {
        name: replace(budget, jobs=budget.jobs and part(budget.jobs, size), sockets=part(most, size))
        for name, size in sizes.items()
    }


def _stream(
    name: str, members: Sequence[tuple[int, Target]], facts: frozenset[Fact], budget: Budget
) -> Iterator[tuple[int, Taken]]:
    """Yield an engine's results under the places of its targets in the run."""
    taking = engine(name)([target for _, target in members], facts, budget)
    for position, taken in taking:
        yield members[position][0], taken


def _merged(streams: Sequence[Iterator[tuple[int, Taken]]]) -> Iterator[tuple[int, Taken]]:
    """Yield from all engines at once: the first in this thread, where an interruption reaches what it has open.

    Any others run in daemon threads; what they have open when the process leaves is bounded on the server's side.
    """
    others = streams[1:]
    results: queue.SimpleQueue[tuple[int, Taken] | BaseException | None] = queue.SimpleQueue()

    def drain(stream: Iterator[tuple[int, Taken]]) -> None:
        try:
            for item in stream:
                results.put(item)
            results.put(None)
        except BaseException as error:  # noqa: BLE001 - handed to the main thread, which raises it
            results.put(error)

    for stream in others:
        threading.Thread(target=drain, args=(stream,), daemon=True).start()
    for stream in streams[:1]:
        yield from stream
    running = len(others)
    while running:
        item = results.get()
        if isinstance(item, BaseException):
            raise item
        if item is None:
            running -= 1
        else:
            yield item
