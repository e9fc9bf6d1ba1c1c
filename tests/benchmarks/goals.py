"""A goal, its limit, and what was measured: one row of the table."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Goal:
    """One row. `measured` and `limit` are in the same unit; None: it could not be measured, and `beside` says why."""

    name: str
    what: str
    limit: float
    measured: float | None
    unit: str = "x"
    beside: str = ""

    @property
    def verdict(self) -> str:
        """Return whether it is met."""
        return "not measured" if self.measured is None else "met" if self.measured <= self.limit else "**missed**"

    def cells(self) -> tuple[str, ...]:
        """Return the row as texts."""
        measured = "-" if self.measured is None else _spoken(self.measured, self.unit)
        return self.name, self.what, _spoken(self.limit, self.unit), measured, self.verdict, self.beside


@dataclass(slots=True)
class Findings:
    """All that one run found out: goals, further tables by title, and what could not be measured."""

    goals: list[Goal] = field(default_factory=list)
    costs: list[tuple[str, ...]] = field(default_factory=list)
    sessions: list[tuple[int, float]] = field(default_factory=list)  # sessions, seconds of `idle-tx`
    targets: list[tuple[int, float]] = field(default_factory=list)  # targets, seconds of `count`
    missing: list[str] = field(default_factory=list)


def _spoken(value: float, unit: str) -> str:
    if unit == "x":
        return f"{value:.2f}x" if value < 10 else f"{value:.1f}x"
    if unit == "s":
        return f"{value:.2f} s"
    return f"{value:.0f} {unit}".rstrip()
