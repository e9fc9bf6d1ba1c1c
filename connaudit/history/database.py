"""What a database that keeps the history must be able to do: a postcard, so that another can be written."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

SCHEMA = 1  # of the tables; a history of a newer one is refused, an older one is brought up to it
Result = TypeVar("Result")
Row = tuple[Any, ...]


class Work(Protocol):
    """One transaction, as the store uses it; statements are those of `statements`."""

    def run(self, statement: str, values: Sequence[Any] = ()) -> int:
        """Execute a statement, and return how many rows it changed."""

    def run_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Execute a statement for each row."""

    def rows(self, statement: str, values: Sequence[Any] = ()) -> Iterator[Row]:
        """Yield what a query finds."""


class Database(Protocol):
    """Where the history lies, opened, its tables there and up to date; every failure is a HistoryError."""

    place: str  # where, for people; never with a password

    def write(self, work: Callable[[Work], Result]) -> Result:
        """Return what `work` does in one transaction, all of it or nothing; it may be called again after a conflict."""

    def read(self, work: Callable[[Work], Result]) -> Result:
        """Return what `work` finds, of one moment."""

    def tidy(self) -> None:
        """Give room back that was pruned, as far as that is quickly done."""

    def close(self) -> None:
        """Close it; not to be used after."""
