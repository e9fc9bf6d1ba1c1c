"""The questions of a visit: all in one round trip, and once more those that a failing one kept from being asked."""

import time
from collections.abc import Mapping
from dataclasses import field
from functools import cache

from connaudit.dataclass import dataclass
from connaudit.engines.postgresql import failures, statements
from connaudit.engines.postgresql.dial import Caller
from connaudit.engines.postgresql.loop import Steps
from connaudit.engines.postgresql.wire import Broken, Connection, Result
from connaudit.errors import NotAllowed, QueryFailed
from connaudit.snapshot import Fact
from connaudit.targets import Target


@dataclass(frozen=True, slots=True)
class Question:
    """A statement in its variants, and the facts that it is asked for; none: it is always asked."""

    variants: Mapping[int, str]
    facts: frozenset[Fact] = frozenset()
    essential: bool = False  # without its answer there is no snapshot


# By importance: what comes before a failure counts. The settings lead, because the batch changes some of them.
QUESTIONS = {
    "settings": Question(statements.SETTINGS, frozenset({Fact.GUARDS})),
    "server": Question(statements.SERVER, essential=True),
    "sessions": Question(statements.SESSIONS, essential=True),
    "texts": Question(statements.TEXTS, frozenset({Fact.QUERIES})),
    "locks": Question(statements.LOCKS, frozenset({Fact.TRANSACTIONS, Fact.LOCKS})),
    "waiters": Question(statements.WAITERS, frozenset({Fact.LOCKS})),
    "prepared": Question(statements.PREPARED, frozenset({Fact.TRANSACTIONS, Fact.LOCKS, Fact.HORIZON})),
    "holders": Question(statements.HOLDERS, frozenset({Fact.HORIZON})),
    "databases": Question(statements.DATABASES),
    "roles": Question(statements.ROLES),
    "ourselves": Question(statements.OURSELVES),
    "overrides": Question(statements.OVERRIDES, frozenset({Fact.GUARDS})),
}


@dataclass(slots=True)
class Answers:
    """What the statements answered, by name, and when by our own clock."""

    told: dict[str, Result] = field(default_factory=dict)
    failed: list[tuple[str, Result]] = field(default_factory=list)
    asked_at: float = 0.0
    told_at: float = 0.0


@dataclass(frozen=True, slots=True)
class _Step:
    """One statement of a batch; `name` is the question that it answers, None if it answers none."""

    sql: str
    name: str | None = None


_BEGIN = tuple(_Step(sql) for sql in statements.BEGIN)
_ROLLBACK = _Step("rollback")


def ask(connection: Connection, target: Target, facts: frozenset[Fact], caller: Caller) -> Steps[Answers]:
    """Ask everything that the facts need."""
    answers = Answers(asked_at=time.time())
    left = [name for name, question in QUESTIONS.items() if not question.facts or question.facts & facts]
    failed = False
    while left or failed:
        version = connection.server_version // 10000
        limits = statements.limits(caller.until - time.monotonic(), version, patient=not answers.failed)
        batch = _batch(tuple(left), version, limits) if left else ()
        results = yield from _send(connection, target, caller, (_ROLLBACK, *batch) if failed else batch)
        answers.told_at = answers.told_at or time.time()
        done = batch[: len(results) - failed]
        failed = _sort(done, results[failed:], answers)
        left = [step.name for step in batch[len(done) :] if step.name is not None]
    return answers


@cache
def _batch(names: tuple[str, ...], version: int, limits: tuple[str, ...]) -> tuple[_Step, ...]:
    """Return the statements of one read-only transaction."""
    asked = [_Step(statements.pick(QUESTIONS[name].variants, version), name) for name in names]
    before = 1 if names[0] == "settings" else 0
    return (*_BEGIN, *asked[:before], *map(_Step, limits), *asked[before:], _Step("commit"))


def _send(connection: Connection, target: Target, caller: Caller, batch: tuple[_Step, ...]) -> Steps[list[Result]]:
    try:
        results = yield from connection.query("; ".join(step.sql for step in batch), caller.until)
    except Broken as error:
        raise failures.of_break(error.text, target) from None
    if results is None:
        hint = "it has not answered: an overloaded server, a pooler without a free connection, or a locked catalogue"
        raise caller.timed_out("query", hint)
    return results


def _sort(steps: tuple[_Step, ...], results: list[Result], answers: Answers) -> bool:
    """Put the answers by name; return whether one of them was an error, which only the last can be."""
    for step, result in zip(steps, results, strict=True):
        if result.sqlstate is None:
            if step.name is not None:
                answers.told[step.name] = result
        elif step.name is None or QUESTIONS[step.name].essential:
            kind = NotAllowed if result.sqlstate == "42501" else QueryFailed
            raise kind(f"{result.message} (SQLSTATE {result.sqlstate})", stage="query")
        else:
            answers.failed.append((step.name, result))
            return True
    return False
