"""Which groups of connections leak: the classification, pure and alone.

A connection is used from its opening to its last statement. A pool, a worker or a thread that keeps its connection
opens no other while that one lies idle; a leak does nothing else. So what is counted is not how many lie idle, nor for
how long, but how often the same client opened a NEW connection while one that it had stopped using lay there:

    chain        the longest row of forsaken connections, each opened after the one before was used for the last time
    passed over  pairs of a forsaken connection and one that was opened later, while it lay idle
    forsaken     used once and idle ever since, for T or longer; in a series: opened within it and not seen used again

Where this goes wrong, and what holds it back (tests/diagnostics/test_leaking.py prints how often):

- Workers that each keep a connection, and so little traffic that each is opened at its own time: a chain as long as
  there are workers. They are used again, sooner or later: the more often that is seen, the more must be passed over
  (SKIPS). A minute after a start at 0.3 requests a second, 8 of them were called a leak in 0 of 20 watches, 16 in 1, 32
  in 2, and suspected in most others. A bound settles it at once.
- Connections that live for a fixed time and are then opened anew (CONN_MAX_AGE with little traffic) are all used once.
  Each opening ends one: in a series that counts as use, and the number does not rise. One look cannot see it and calls
  32 such workers a leak; a bound or a series does not.
- Pools that open their connections beforehand: each start is one step of a chain, however many it opens. What nobody
  ever used is no evidence in one look.
- A leak inside healthy traffic under the same name: the share of its connections in the group may be small. Those that
  are used again tell how soon that happens; so many that never are cannot be chance (BEYOND_CHANCE), nor merely rare
  workers, of which some would be used now and then (BETWEEN). They may be workers of another kind that were started
  just now and have little to do: of those there are only so many (CROWD), and nobody collects theirs. 64 of them beside
  4 busy ones were called a leak in 2 of 300 watches of a minute; without these two rules it was in 187.
- Pools that close a member after a short idleness, in many processes: their members go one by one, and are none that a
  garbage collector takes, many at once and whenever each was used last.

Not found, because the server cannot know: connections kept and used again by threads that nobody needs (`parked`, or
`excess over bound`), members of a pool that are never given back (idle and full here, time-outs in the client), leaks
slower than the series, and what hides behind a pooler.
"""

import math
from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from enum import StrEnum
from itertools import accumulate, pairwise
from typing import Self

from connaudit.dataclass import dataclass
from connaudit.diagnostics.apart import never_used
from connaudit.diagnostics.lives import Life
from connaudit.snapshot import State
from connaudit.units import format_duration, plural, round_duration

LEAST = 5  # forsaken connections that make a leak, the chain of a series and the rise in its number
STEPS = 3  # the chain that makes a suspect; of one look also that of a leak: bursts leave several per step
SKIPS = 40  # passed over for each time that a connection was used again, and one: 10 of which none was
CROWD = 200  # the same beside busy ones, for each that was used again rarely, and one: 21 of which none was
ONCE_SHARE = 0.6  # of those long idle that must have been used once, in one look
BEYOND_CHANCE = 2.0  # as many times as chance would leave unused ...
ALLOWANCE = 3  # ... and so many more
BETWEEN = 3  # forsaken for each that was used again once or twice
PARKED = 3  # long idle connections that are worth a word, if they are ...
PARKED_SHARE = 0.9  # ... so large a share of the idle ones
EXCESS = 1.25  # times the bound, and one more
LOST_SHARE = 0.2  # of the forsaken that went away by themselves: collected as garbage


class Verdict(StrEnum):
    """What a group is; the first four are leaks or may be."""

    GROWING = "leak growing"
    LINGERING = "leak lingering"  # forsaken connections that the client's garbage collector closes in the end
    EXCESS = "excess over bound"
    SUSPECT = "suspect"
    IDLE_IN_TRANSACTION = "idle in transaction"
    PARKED = "parked"
    POOL = "pool"
    OK = "ok"

    @property
    def is_leak(self) -> bool:
        """Whether it was proven."""
        return self in (Verdict.GROWING, Verdict.LINGERING)

    @property
    def is_suspect(self) -> bool:
        """Whether somebody should look."""
        return self.is_leak or self in (Verdict.EXCESS, Verdict.SUSPECT)


@dataclass(frozen=True, slots=True)
class Scale:
    """How long is long: all in seconds."""

    idle: float  # T: from here on a connection lies idle for long
    margin: float  # by which an opening must follow a last use: those that are closer are one burst
    once: float  # from opening to last use of a connection that was used once

    @classmethod
    def of(cls, idle: float) -> Self:
        """Return the scale for a T: margins are 5 s in production, less where time is compressed."""
        return cls(idle, margin=min(5.0, max(1.0, idle / 5)), once=max(1.0, idle / 20))


def span_of_idleness(watched: float, most: float) -> float:
    """Return the T for a series that lasted so long: a twentieth of it, 2 s at least.

    >>> span_of_idleness(60, 600), span_of_idleness(86400, 600)
    (3.0, 600)
    """
    return min(most, max(2.0, watched / 20))


@dataclass(frozen=True, slots=True)
class Standing:
    """What the last look shows of one group. None: not told by this server."""

    sessions: int
    idle: int
    stale: int  # idle for T or longer
    oldest: float | None  # idleness
    once: int | None  # stale ones that were used, once
    never_used: int | None  # idle ones in which nothing but their opening ran
    reused: int | None  # used for longer than once
    chain: int | None
    steps: int | None  # the chain of all idle ones, stale or not
    passed: int
    in_order: bool  # their last uses follow in the order in which they were opened, over a long time
    in_transaction: int  # idle in transaction for T or longer
    forsaken: tuple[int, ...]  # the sessions that bear the verdict


@dataclass(frozen=True, slots=True)
class Watched:
    """What a series shows of one group besides."""

    looks: int
    seconds: float
    opened: int
    closed: int
    seen_again: int  # connections that were used again and are there still
    uses: int  # times that one was
    replaced: int  # openings each of which ended an idle one
    forsaken: int
    lost: int  # of the forsaken, gone
    collected: int  # of the lost, many at once
    chain: int
    passed: int
    by_chance: float  # how many of those opened would be forsaken if all were used again as often as some are
    rarely: int  # opened and used again once or twice: what lies between forsaken and busy
    rise: int  # the largest rise in the group's number
    left: tuple[int, ...]  # sessions: the forsaken that are still there


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that speaks for or against one group."""

    standing: Standing
    watched: Watched | None  # None: one look only
    bound: int | None  # the most that it needs, if anybody knows

    @property
    def forsaken(self) -> tuple[int, ...]:
        """Return the sessions that bear the verdict."""
        return tuple(sorted({*self.standing.forsaken, *(self.watched.left if self.watched else ())}))

    @property
    def chain(self) -> int | None:
        """Return the longest chain, of the last look or of the series."""
        series = self.watched.chain if self.watched else None
        return max((length for length in (self.standing.chain, series) if length is not None), default=None)


def standing(group: Sequence[Life], at: float, scale: Scale) -> Standing:
    """Return what the look at that instant shows; what was used again in a series before it bears no verdict."""
    present = [life for life in group if life.gone is None]
    idle = [life for life in present if life.session.state is State.IDLE]
    stale = [life for life in idle if _idle_for(life, at) >= scale.idle]
    once = [life for life in stale if _once(life, scale) and not never_used(life.session)]
    told = all(life.session.connection_age is not None for life in idle)
    ages = [life.session.state_age for life in idle if life.session.state_age is not None]
    waiting = [life for life in present if life.session.open_transaction]
    return Standing(
        sessions=len(present),
        idle=len(idle),
        stale=len(stale),
        oldest=max(ages, default=None),
        once=len(once) if told else None,
        never_used=_never_used(idle),
        reused=sum(_reused(life, scale) for life in present) if told else None,
        chain=chain(once, scale.margin) if told else None,
        steps=chain(idle, scale.margin) if told else None,
        passed=passed_over(once, present, scale.margin),
        in_order=not told and _in_order(stale, scale),
        in_transaction=sum((life.session.state_age or 0.0) >= scale.idle for life in waiting),
        forsaken=tuple(life.session.id for life in (once if told else stale)),
    )


def _idle_for(life: Life, at: float) -> float:
    return 0.0 if life.idle_since is None else at - life.idle_since


def _once(life: Life, scale: Scale) -> bool:
    return life.used_for is not None and life.used_for < scale.once and not life.used_again


def _reused(life: Life, scale: Scale) -> bool:
    return life.used_again > 0 or (life.used_for is not None and life.used_for >= scale.once)


def _never_used(idle: Iterable[Life]) -> int | None:
    told = [never_used(life.session) for life in idle]
    return None if told and all(one is None for one in told) else sum(bool(one) for one in told)


def _in_order(stale: Sequence[Life], scale: Scale) -> bool:
    """Return whether connections without an age were last used in the order of their numbers, a margin apart.

    By chance one order of n! would be this one; connections opened in one burst and left alone have it as well, so
    their last uses must lie apart. A pool that takes turns has it, too: it is no more than a suspicion.
    """
    uses = [life.idle_since or 0.0 for life in sorted(stale, key=lambda life: life.session.id)]
    follows = all(later >= earlier for earlier, later in pairwise(uses))
    return follows and _apart(uses, scale.margin) >= LEAST


def _apart(instants: Iterable[float], margin: float) -> int:
    """Return how many of these instants, in the order of time, lie a margin apart.

    >>> _apart([0.0, 0.5, 1.0, 1.5, 2.5], 1.0)
    3
    """
    count, last = 0, -math.inf
    for instant in instants:
        if instant >= last + margin:
            count, last = count + 1, instant
    return count


def chain(group: Iterable[Life], margin: float) -> int:
    """Return the longest row of connections, each opened a margin after the last use of the one before.

    Of clients whose processes are known, a process makes a row of its own: the second and later of each count.
    """
    rows: dict[str | None, list[Life]] = {}
    for life in group:
        if life.opened is not None and life.idle_since is not None:
            rows.setdefault(life.process, []).append(life)
    return sum(_row(row, margin) - 1 for row in rows.values()) + 1 if rows else 0


def _row(group: list[Life], margin: float) -> int:
    """Return the length of the longest row: the one that ends first is always a good choice."""
    length, last = 0, -math.inf
    for life in sorted(group, key=lambda life: life.idle_since or 0.0):
        if (life.opened or 0.0) >= last + margin:
            length, last = length + 1, life.idle_since or 0.0
    return length


def passed_over(forsaken: Iterable[Life], openings: Iterable[Life], margin: float) -> int:
    """Return the pairs of a forsaken connection and one opened by the same process while it lay there."""
    opened: dict[str | None, list[float]] = {}
    for life in openings:
        if life.opened is not None:
            insort(opened.setdefault(life.process, []), life.opened)
    total = 0
    for life in forsaken:
        if life.idle_since is not None:
            times = opened.get(life.process, [])
            end = len(times) if life.gone is None else bisect_left(times, life.gone)
            total += max(0, end - bisect_left(times, life.idle_since + margin))
    return total


def watched(group: Sequence[Life], looks: Sequence[float], scale: Scale) -> Watched:
    """Return what a series of looks at those instants shows."""
    end = looks[-1]
    opened = [life for life in group if life.appeared]
    forsaken = [life for life in opened if life.longest_idle >= scale.idle and not life.used_again]
    changes = _changes(group, looks)
    return Watched(
        looks=len(looks),
        seconds=end - looks[0],
        opened=len(opened),
        closed=sum(life.gone is not None for life in group),
        seen_again=sum(life.used_again > 0 and life.gone is None for life in group),
        uses=sum(life.used_again for life in group),
        replaced=_replaced(group, changes, looks, scale.idle),
        forsaken=len(forsaken),
        lost=sum(life.gone is not None for life in forsaken),
        collected=_collected(forsaken, scale.margin),
        chain=chain(forsaken, scale.margin),
        passed=passed_over(forsaken, opened, scale.margin),
        by_chance=_by_chance(group, opened, end, scale.idle),
        rarely=sum(1 <= life.used_again <= 2 for life in opened),
        rise=_rise(accumulate(came - gone for came, gone in changes)),
        left=tuple(life.session.id for life in forsaken if life.gone is None),
    )


def _rise(numbers: Iterable[int]) -> int:
    """Return the largest rise from a low to a later high.

    >>> _rise([4, 1, 6, 11, 2, 9])
    10
    """
    rise, low = 0, math.inf
    for number in numbers:
        low = min(low, number)
        rise = max(rise, int(number - low))
    return rise


def _changes(group: Sequence[Life], looks: Sequence[float]) -> list[tuple[int, int]]:
    """Return how many connections had come, and how many had gone, at each look since the one before."""
    came = [0] * len(looks)
    gone = [0] * len(looks)
    for life in group:
        came[bisect_left(looks, life.opened) if life.appeared and life.opened is not None else 0] += 1
        if life.gone is not None:
            gone[bisect_left(looks, life.gone)] += 1
    return list(zip(came, gone, strict=True))


def _replaced(group: Iterable[Life], changes: Sequence[tuple[int, int]], looks: Sequence[float], idle: float) -> int:
    """Return the openings that ended another connection of the group, which had lain idle for long.

    Between two looks as many came, or more, and none went that was young: a garbage collector takes those as well, and
    many at once, whatever is opened just then.
    """
    young = {life.gone for life in group if life.gone is not None and life.longest_idle < idle}
    return sum(gone for look, (came, gone) in zip(looks, changes, strict=True) if gone <= came and look not in young)


def _collected(forsaken: Iterable[Life], margin: float) -> int:
    """Return how many were closed between the same two looks as another that was last used at another time."""
    together: dict[float, list[float]] = {}
    for life in forsaken:
        if life.gone is not None and life.idle_since is not None:
            together.setdefault(life.gone, []).append(life.idle_since)
    return sum(len(uses) for uses in together.values() if max(uses) >= min(uses) + margin)


def _by_chance(group: Iterable[Life], opened: Iterable[Life], end: float, idle: float) -> float:
    """Return how many would be forsaken by chance, if each were used again as often as those are that were.

    That they were once is why they are looked at, and tells nothing; how often since then does.
    """
    again = [life for life in group if life.used_again]
    total = sum(life.idle_time(end) for life in again)
    rate = sum(life.used_again - 1 for life in again) / total if total else 0.0
    eligible = (life for life in opened if life.used_again or life.longest_idle >= idle)
    return sum(math.exp(-rate * life.idle_time(end)) for life in eligible)


def verdict(evidence: Evidence) -> Verdict:
    """Return what the evidence amounts to; a leak is only called one that no known bound explains."""
    now, series, bound = evidence.standing, evidence.watched, evidence.bound
    explained = bound is not None and now.sessions <= bound
    leaks = (series is not None and proven(series)) or (_nothing_happened(series) and shown(now))
    if leaks and not explained:
        lost = series is not None and series.lost and series.lost >= LOST_SHARE * series.forsaken
        return Verdict.LINGERING if lost else Verdict.GROWING
    if bound is not None and now.sessions > EXCESS * bound + 1:
        return Verdict.EXCESS
    if now.in_transaction:
        return Verdict.IDLE_IN_TRANSACTION
    if leaks or (suspicious(now, series) and not explained):
        return Verdict.SUSPECT
    return _healthy(now, series)


def _nothing_happened(series: Watched | None) -> bool:
    """Return whether a series, if there is one, contradicts the last look in nothing."""
    return series is None or not (series.uses or series.replaced)


def proven(series: Watched) -> bool:
    """Return whether a series proves a leak."""
    if min(series.forsaken, series.chain, series.rise) < LEAST:
        return False
    unused = series.passed >= SKIPS * (1 + series.uses + series.replaced)
    return unused or (_of_another_kind(series) and _without_end(series))


def _of_another_kind(series: Watched) -> bool:
    """Return whether others of the group are used again so often that the forsaken cannot be like them.

    Where some workers are merely rare, others are a little less so; a leak has nothing between its connections, which
    are never used again, and those of its healthy neighbours.
    """
    many = series.forsaken >= BEYOND_CHANCE * series.by_chance + ALLOWANCE
    return series.uses > 0 and many and series.forsaken >= BETWEEN * series.rarely


def _without_end(series: Watched) -> bool:
    """Return whether the forsaken are more than workers that were started just now, or go as none of a worker's do."""
    return series.collected >= LEAST or series.passed >= CROWD * (1 + series.rarely + series.replaced)


def shown(now: Standing) -> bool:
    """Return whether one look shows a leak."""
    if now.chain is None or now.once is None or now.reused is None:
        return False
    many = now.once >= max(LEAST, ONCE_SHARE * now.stale) and now.chain >= STEPS
    return many and now.passed >= SKIPS * (1 + now.reused)


def suspicious(now: Standing, series: Watched | None) -> bool:
    """Return whether something looks like a leak and proves nothing."""
    if series is not None:
        if series.opened and 2 * series.replaced >= series.opened:
            return False
        if min(series.forsaken, series.chain) >= LEAST:
            return True
    if now.steps is None:
        return now.in_order
    return now.steps >= STEPS and now.stale >= PARKED


def _healthy(now: Standing, series: Watched | None) -> Verdict:
    if now.stale >= max(PARKED, PARKED_SHARE * now.idle):
        return Verdict.PARKED
    again = series.seen_again if series is not None else now.reused or 0
    return Verdict.POOL if now.idle >= 2 and again * 2 >= now.idle else Verdict.OK


def why(verdict: Verdict, evidence: Evidence, scale: Scale) -> str:
    """Return the reason of a verdict in words; nothing for a group that is well and small."""
    now, series = evidence.standing, evidence.watched
    if verdict.is_leak:
        return _of_leak(now, series if series is not None and proven(series) else None, scale)
    if verdict is Verdict.EXCESS:
        return f"{plural(now.sessions, 'connection')} where {evidence.bound} are enough"
    if verdict is Verdict.SUSPECT:
        return _of_suspect(evidence)
    if verdict is Verdict.IDLE_IN_TRANSACTION:
        return f"{now.in_transaction} idle in transaction for {_long(scale)}: idle-tx tells what they hold"
    if verdict is Verdict.POOL:
        again = series.seen_again if series is not None else now.reused
        return f"idle but used again: {again} of {plural(now.sessions, 'connection')}"
    if verdict is Verdict.PARKED:
        unused = f", {now.never_used} of them never used" if now.never_used else ""
        known = evidence.bound is not None
        beyond = f"within a bound of {evidence.bound}" if known else "a bound tells if they are too many"
        return f"{now.stale} idle for {_long(scale)}{unused}: a pool or workers without work; {beyond}"
    return ""


def _long(scale: Scale) -> str:
    return f"{round_duration(scale.idle)} or longer"


def _of_leak(now: Standing, series: Watched | None, scale: Scale) -> str:
    if series is None:
        once = f"{now.once} used once and idle for {_long(scale)}"
        return f"{once}, {now.chain} of them opened one after another while those before lay idle"
    opened = f"{series.opened} opened in {format_duration(series.seconds)}"
    unused = f"{series.forsaken} of them never used again, {series.chain} one after another while those before lay idle"
    lost = f"; {series.lost} were closed unused in the end, as by a garbage collector" if series.lost else ""
    healthy = f"; others of the group were used again {series.uses} times" if series.uses else ""
    return f"{opened}, {unused}{lost}{healthy}"


def _of_suspect(evidence: Evidence) -> str:
    now, series, bound = evidence.standing, evidence.watched, evidence.bound
    if bound is not None and now.sessions <= bound:
        return f"looks like a leak, but {plural(now.sessions, 'connection')} are within its bound of {bound}"
    if series is not None and min(series.forsaken, series.chain) >= LEAST:
        again = f"; others were, {series.uses} times" if series.uses else ""
        return f"{series.forsaken} of {series.opened} opened meanwhile not used again so far{again}"
    if now.steps is None:
        return f"{now.stale} last used in the order in which they were opened, none since: each once, perhaps"
    return (
        f"{now.steps} opened one after another while those before lay idle; workers with little traffic look the same"
    )
