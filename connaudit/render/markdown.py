"""Markdown, for a job's summary, an issue or a chat."""

import re
from collections.abc import Iterable

from connaudit.render import words
from connaudit.render.layout import stands_right
from connaudit.render.run import Audited, Run
from connaudit.render.style import Style
from connaudit.render.tables import brief_table, check_table, left_out
from connaudit.render.values import cells
from connaudit.report import Failure, Outcome, Show, Status, Table

_MARKS = {Status.OK: "", Status.WARNING: "**", Status.CRITICAL: "**", Status.UNKNOWN: "**"}
_SPECIAL = re.compile(r"[\\`*_\[\]#~|]")
# What GitHub links, calls or draws without being asked: addresses, people, issues, :emoji:. It looks at the text that
# remains when entities and backslashes are resolved, so only a comment in between keeps it from that.
_EAGER = re.compile(r"@(?=\w)|#(?=\d)|:(?=//)|:(?=[a-z0-9_+-]+:)|www(?=\.)", re.IGNORECASE)


def render(run: Run, style: Style) -> str:
    """Return headings, verdicts and tables; everybody's text is escaped."""
    verdict = words.tally(run) if run.outcomes else "nothing was audited"
    title = f"## connaudit {run.command}: {run.status.name}"
    parts = [title, escaped(verdict, style)]
    if run.is_check:
        parts += [_bullets((f"{t.source.target}: {s}" for t in run.targets for s in words.story(t)), style)]
        parts += [_table(check_table(run, everything=style.verbose), style)]
        advice = [f"{t.source.target}: {s}" for t in run.targets for s in _advice(t)]
        parts += [_bullets([*advice, *words.reading(run.outcomes)], style)]
    else:
        brief = brief_table(run) if len(run.targets) > 1 else None
        parts += [_table(brief, style)] if brief else []
        parts += [part for target in run.targets for part in _target(target, style)]
    return "\n\n".join(part for part in parts if part) + "\n"


def escaped(text: str, style: Style) -> str:
    r"""Return text that Markdown shows as it is: no markup, no tag, no link, nobody called.

    >>> print(escaped("<b> @all a_b http://x", Style()))
    &lt;b&gt; @<!-- -->all a\_b http:<!-- -->//x
    """
    said = style.say(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    quiet = "\0".join(_split_eager(said))
    return _SPECIAL.sub(lambda match: "\\" + match[0], quiet).replace("\0", "<!-- -->")


def _split_eager(said: str) -> list[str]:
    ends = [match.end() for match in _EAGER.finditer(said)]
    return [said[begin:end] for begin, end in zip([0, *ends], [*ends, len(said)], strict=True)]


def _target(target: Audited, style: Style) -> list[str]:
    parts = [f"### {', '.join(escaped(part, style) for part in words.server_parts(target.source))}"]
    for outcome in target.outcomes:
        parts += _outcome(outcome, style)
    return [*parts, _bullets(words.remarks(target.reports), style)]


def _outcome(outcome: Outcome, style: Style) -> list[str]:
    mark = _MARKS[outcome.status]
    verdict = f"{mark}{outcome.status.name}{mark} {escaped(words.headline(outcome), style)}"
    if isinstance(outcome, Failure):
        hint = [outcome.error.hint] if outcome.error.hint else []
        return [verdict, _bullets([*hint, *words.reading([outcome])], style)]
    told = [f"{found.code}: {found.message}" for found in words.further_findings(outcome)]
    tables = [_table(table, style) for table in (*outcome.overviews, outcome.table) if table]
    cuts = [escaped(sentence, style) for sentence in (left_out(outcome.table) if outcome.table else [])]
    advice = [*outcome.details, *told, *words.hints(outcome), *words.reading([outcome])]
    return [verdict, _bullets(advice, style), *tables, *cuts]


def _advice(target: Audited) -> list[str]:
    failure = target.failure
    hints = [hint for report in target.reports for hint in words.hints(report)]
    return words.remarks(target.reports) + hints + ([failure.error.hint] if failure and failure.error.hint else [])


def _bullets(sentences: Iterable[str], style: Style) -> str:
    return "\n".join(f"- {escaped(sentence, style)}" for sentence in dict.fromkeys(sentences))


def _table(table: Table, style: Style) -> str:
    """Return a table; nothing if it has no rows."""
    if not table.rows:
        return ""
    most = Show.WIDE if style.wide else Show.ROOMY
    shown = [place for place, column in enumerate(table.columns) if column.show <= most]
    values = list(zip(*table.rows, strict=True))
    texts = [cells(table.columns[place], values[place], style) for place in shown]
    header = [table.columns[place].label for place in shown]
    rule = ["---:" if stands_right(table.columns[place], values[place]) else "---" for place in shown]
    rows = [[_again(text) for text in row] for row in zip(*texts, strict=True)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, rule, *rows))


def _again(said: str) -> str:
    """Escape a cell, which is clean and in the right alphabet already."""
    return escaped(said, Style(unicode=True))
