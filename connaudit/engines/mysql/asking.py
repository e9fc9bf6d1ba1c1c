"""From a plan to answers: as few round trips as refusals allow."""

from collections.abc import Iterable
from dataclasses import field

from connaudit.dataclass import dataclass
from connaudit.engines.mysql.statements import MARIADB, Statement
from connaudit.engines.mysql.wire import Refusal, Row, Wire

# What a server's configuration may have set for everybody: so few rows that not all sessions are told, so few to read
# that hardly anything is.
_FOR_ONE_STATEMENT = (
    "set statement max_statement_time = %(seconds)s, sql_select_limit = 4294967295, sql_big_selects = 1 for "
)


@dataclass(slots=True)
class Answers:
    """What a server told, by the names of the statements; what it refused is in `refused` instead."""

    rows: dict[str, list[Row]] = field(default_factory=dict)
    refused: dict[str, Refusal] = field(default_factory=dict)

    def of(self, name: str) -> list[Row]:
        """Return the rows of a statement; none if it was not asked, or refused."""
        return self.rows.get(name, [])

    def heard(self, name: str) -> bool:
        """Return whether a statement was answered or refused."""
        return name in self.rows or name in self.refused

    def told(self, name: str) -> bool:
        """Return whether a statement was answered, be it with no row."""
        return name in self.rows


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long each statement may run, in seconds, and in whose words to say so."""

    product: str
    seconds: float


def ask(
    wire: Wire, statements: Iterable[Statement], bounds: Bounds, answers: Answers, ids: tuple[int, ...] = ()
) -> None:
    """Run statements and add to the answers; `ids` are sessions that some of them ask about.

    A refused statement ends its batch; the others follow in another. `Refusal` of what is not optional.
    """
    left = list(statements)
    prefix = _FOR_ONE_STATEMENT if bounds.product == MARIADB else ""
    values = {"ms": max(1, int(bounds.seconds * 1000)), "seconds": round(bounds.seconds, 3), "ids": ids}
    while left:
        text = ";\n".join(prefix + statement.text for statement in left)
        told, refusal = wire.batch(text, values)
        for statement, rows in zip(left, told, strict=False):
            answers.rows.setdefault(statement.name, []).extend(rows)
        if refusal is None:
            return
        failed, *left = left[len(told) :]
        left = _after(failed, left, refusal, answers)


def _after(failed: Statement, left: list[Statement], refusal: Refusal, answers: Answers) -> list[Statement]:
    """Note a refusal, and return what is still to be asked."""
    if failed.instead:
        return [failed.instead, *left]
    if not failed.optional:
        raise refusal
    answers.refused[failed.name] = refusal
    if refusal.denied and failed.grant:
        for statement in left:
            if statement.grant == failed.grant:
                answers.refused[statement.name] = refusal
        return [statement for statement in left if statement.grant != failed.grant]
    return left
