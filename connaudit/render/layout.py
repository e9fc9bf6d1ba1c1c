"""Columns of text: which fit, how wide they are, and what becomes of them where none do."""

from collections.abc import Sequence

from connaudit.dataclass import dataclass
from connaudit.render.style import Style
from connaudit.render.text import cell_width, cut, fold, guarded, padded
from connaudit.render.values import cells
from connaudit.report import Column, Show, Table, Unit, Value

GAP = 2  # blanks between columns
NARROWEST = 24  # cells below which a table is no help
_LEAST_TEXT = 16  # cells to which a text may be cut before a column is dropped
_LEAST_SQL = 20
_LONGEST_BLOCK = 3  # lines of one value where columns do not fit


@dataclass(frozen=True, slots=True)
class Grid:
    """A table as texts, by column; `hidden` are the labels of columns that had no room."""

    columns: tuple[Column, ...]
    cells: tuple[list[str], ...]
    widths: tuple[int, ...]
    right: tuple[bool, ...]  # whether a column stands to the right
    hidden: tuple[str, ...] = ()

    @property
    def height(self) -> int:
        """Return the number of rows."""
        return len(self.cells[0]) if self.cells else 0


def grid(table: Table, style: Style) -> Grid:
    """Return the columns that this style shows, at their natural widths."""
    most = Show.WIDE if style.wide else Show.ROOMY
    shown = [place for place, column in enumerate(table.columns) if column.show <= most]
    by_column = tuple(zip(*table.rows, strict=True)) or ((),) * len(table.columns)
    texts = [cells(table.columns[place], by_column[place], style) for place in shown]
    if texts:
        texts[0] = [guarded(text) for text in texts[0]]
    columns = tuple(table.columns[place] for place in shown)
    widths = tuple(_natural(column, column_texts) for column, column_texts in zip(columns, texts, strict=True))
    right = tuple(stands_right(table.columns[place], by_column[place]) for place in shown)
    return Grid(columns, tuple(texts), widths, right)


def stands_right(column: Column, values: Sequence[Value]) -> bool:
    """Return whether a column is aligned to the right: quantities, and numbers that only name something."""
    return column.is_number or (bool(values) and all(type(value) is int for value in values))


def _natural(column: Column, texts: Sequence[str]) -> int:
    longest = max(map(cell_width, texts), default=0)
    return max(cell_width(column.label), longest)


def fitted(whole: Grid, width: int | None) -> Grid | None:
    """Return the grid in lines of at most `width` cells; None if not even the columns that always show fit.

    Long texts are cut first, statements before all else; then whole columns go, the least important first.
    """
    if width is None or _total(whole.widths) <= width:
        return whole
    least = [_least(column, natural) for column, natural in zip(whole.columns, whole.widths, strict=True)]
    kept = _kept(whole.columns, least, width)
    if width < NARROWEST or not kept:
        return None
    widths = _widened(whole, kept, least, width)
    texts = (
        [cut(text, room) for text in whole.cells[place]] if room < whole.widths[place] else whole.cells[place]
        for place, room in zip(kept, widths, strict=True)
    )
    hidden = (column.label.lower() for place, column in enumerate(whole.columns) if place not in kept)
    columns = tuple(whole.columns[place] for place in kept)
    return Grid(columns, tuple(texts), tuple(widths), tuple(whole.right[place] for place in kept), tuple(hidden))


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * max(len(widths) - 1, 0)


def _least(column: Column, natural: int) -> int:
    """Return to how many cells a column may be cut: numbers, times and trends never."""
    if column.is_number or column.unit in (Unit.TIMESTAMP, Unit.TREND):
        return natural
    enough = _LEAST_SQL if column.unit is Unit.SQL else _LEAST_TEXT
    return min(natural, max(enough, cell_width(column.label)))


def _kept(columns: Sequence[Column], least: Sequence[int], width: int) -> list[int]:
    """Return the places of the columns that fit at their least widths; nothing if those that must do not."""
    kept = list(range(len(columns)))
    while kept and _total([least[place] for place in kept]) > width:
        last = max(kept, key=lambda place: (columns[place].show, place))
        if columns[last].show is Show.ALWAYS:
            return []
        kept.remove(last)
    return kept


def _widened(whole: Grid, kept: Sequence[int], least: Sequence[int], width: int) -> list[int]:
    """Return widths that use the room left over: names first, statements get the rest."""
    widths = [least[place] for place in kept]
    spare = width - _total(widths)
    for index in sorted(range(len(kept)), key=lambda index: whole.columns[kept[index]].unit is Unit.SQL):
        more = min(spare, whole.widths[kept[index]] - widths[index])
        widths[index] += more
        spare -= more
    return widths


def lines(laid: Grid, style: Style) -> list[str]:
    """Return plain lines, one per row, two blanks between columns, the last column ragged."""
    aligned = []
    for place, column in enumerate(laid.columns):
        texts = [column.label, *laid.cells[place]] if style.header else laid.cells[place]
        is_ragged = place == len(laid.columns) - 1 and not laid.right[place]
        aligned.append(texts if is_ragged else _aligned(texts, laid.widths[place], right=laid.right[place]))
    return [(" " * GAP).join(row).rstrip() for row in zip(*aligned, strict=True)]


def _aligned(texts: list[str], width: int, *, right: bool) -> list[str]:
    if "".join(texts).isascii():
        return [text.rjust(width) for text in texts] if right else [text.ljust(width) for text in texts]
    return [padded(text, width, right=right) for text in texts]


def blocks(whole: Grid, width: int) -> list[str]:
    """Return each row as lines of `label: value`, for where columns have no room; a blank line between rows."""
    found: list[str] = []
    for row in zip(*whole.cells, strict=True):
        if found:
            found.append("")
        for column, text in zip(whole.columns, row, strict=True):
            room = width * _LONGEST_BLOCK
            found.extend(fold(cut(f"{column.label.lower()}: {text}", room), width, indent=2))
    return found
