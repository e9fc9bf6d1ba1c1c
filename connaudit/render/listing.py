"""Lists that are no audit, such as what is configured: for people, and for scripts."""

from typing import Any

from connaudit.dataclass import dataclass
from connaudit.errors import UsageError
from connaudit.render.select import check_names, shaped
from connaudit.render.style import Style
from connaudit.report import Status, Table

FORMATS = ("table", "wide", "json", "ndjson", "csv")
VERSION = 1  # of the schema; keys are only ever added within it


@dataclass(frozen=True, slots=True)
class Listing:
    """One list, and what it comes from."""

    command: str  # the schema is connaudit.COMMAND/1
    version: str
    status: Status
    table: Table


def render_listing(name: str, listing: Listing, style: Style) -> str:
    """Return the list in the format of that name; UsageError says which format or field there is not."""
    if name not in FORMATS:
        raise UsageError(f"--format: {listing.command} is no audit; it is written as {', '.join(FORMATS)}")
    check_names([column.key for column in listing.table.columns], style)
    table = shaped(listing.table, style)
    if name == "csv":
        from connaudit.render.csv import table_text

        return table_text(table, style)
    return _json(name, listing, table, style) if name.endswith("json") else _text(name, table, style)


def _json(name: str, listing: Listing, table: Table, style: Style) -> str:
    from connaudit.render.json import dumps

    if name == "ndjson":
        return "".join(dumps(record) + "\n" for record in table.records())
    return dumps(document(listing, table), indent=2 if style.is_terminal else None) + "\n"


def document(listing: Listing, table: Table) -> dict[str, Any]:
    """Return the whole document."""
    return {
        "schema": f"connaudit.{listing.command}/{VERSION}",
        "version": listing.version,
        "status": listing.status.word,
        "exit_code": int(listing.status),
        "rows": table.records(),
        "rows_total": max(table.total, len(table.rows)),
    }


def _text(name: str, table: Table, style: Style) -> str:
    from dataclasses import replace

    from connaudit.render.table import table_lines

    if name == "wide":
        style = replace(style, wide=True, width=None)
    lines, footer = table_lines(table, style)
    parts = ["\n".join(part) for part in (lines, footer) if part]
    return "\n\n".join(parts) + "\n" if parts else ""
