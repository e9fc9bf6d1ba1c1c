"""What the demonstration shows, in order: each diagnostic once, with thresholds that speak within seconds."""

from connaudit.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """One command as a user would type it."""

    command: str
    arguments: tuple[str, ...]
    why: str

    @property
    def words(self) -> tuple[str, ...]:
        """Return the words after `connaudit`."""
        return (self.command, *self.arguments)


STEPS = (
    Step("count", (), "How many connections are in use, and by whom?"),
    Step(
        "idle-tx",
        ("--min-age", "1s", "-w", "age=1s", "-c", "blocking=0"),
        "Who sits in an open transaction, what does it hold, and whom does it hold up?",
    ),
    Step("long-queries", ("--min-age", "1s", "-w", "1s"), "What has been running for long, and what does it wait for?"),
    Step("blocking", ("-w", "1s"), "Who waits for whom, and who is at the root of it?"),
    Step("leaks", ("--idle-age", "2s"), "Which connections were opened, used once, and forgotten?"),
)
