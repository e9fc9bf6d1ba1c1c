"""For whom it is rendered: what the stream can show and what the user asked to see."""

from connaudit.dataclass import dataclass
from connaudit.render.text import clean, to_ascii


@dataclass(frozen=True, slots=True)
class Style:
    """How a report is to look. The default is what a pipe gets: plain, uncut, ASCII."""

    width: int | None = None  # cells a line may have; None: as long as it needs
    is_terminal: bool = False
    color: bool = False
    unicode: bool = False  # whether the stream can carry more than ASCII
    header: bool = True
    utc: bool = False  # False: times are shown in the zone of this machine, with its offset
    fields: tuple[str, ...] | None = None  # keys of columns, in the order wanted; None: as the diagnostic has them
    sort: tuple[str, bool] | None = None  # key of a column, and whether the greatest comes first
    limit: int | None = None  # rows of each target
    verbose: bool = False
    wide: bool = False

    def say(self, text: str) -> str:
        """Return somebody's text in a form that is safe here: on one line, nothing invisible."""
        cleaned = clean(text)
        return cleaned if self.unicode else to_ascii(cleaned)
