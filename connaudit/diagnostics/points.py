"""One line of what a doctor says: a point that is well, or that somebody should look at."""

from connaudit.dataclass import dataclass
from connaudit.report import Status


@dataclass(frozen=True, slots=True)
class Point:
    """What was looked at and how it is; `message` and `hint` say what is wrong with it and what would be better."""

    status: Status
    code: str
    subject: str
    value: str
    message: str = ""
    hint: str | None = None

    @classmethod
    def judged(cls, well: bool, code: str, subject: str, value: str, message: str, hint: str) -> "Point":
        """Return a point that is either well or a warning."""
        return (
            cls(Status.OK, code, subject, value) if well else cls(Status.WARNING, code, subject, value, message, hint)
        )
