"""One page to send to people who do not type commands: verdicts, bars for headroom and ages, tables.

It needs nothing but itself: no script, no font, no picture; light or dark as the reader's machine is.
"""

import html
import re
from collections.abc import Iterable, Sequence

from connaudit.render import words
from connaudit.render.layout import stands_right
from connaudit.render.plot import svg
from connaudit.render.prometheus import family
from connaudit.render.run import Audited, Run
from connaudit.render.style import Style
from connaudit.render.tables import brief_table, check_table, left_out
from connaudit.render.values import cells, quantity, timestamp
from connaudit.report import Column, Failure, Metric, Outcome, Plot, Report, Show, Status, Table, Unit, Value

_CSS = """
:root { color-scheme: light dark; --ink: #1d2530; --dim: #5c6773; --page: #f5f6f8; --card: #fff; --line: #dfe3e8;
  --ok: #1a7f45; --warning: #a35a00; --critical: #b3261e; --unknown: #6a3fa0; --bar: #8fb4e3; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ed; --dim: #9aa5b1; --page: #14181d; --card: #1d232a;
  --line: #343c46; --ok: #54c483; --warning: #f0a83c; --critical: #ff7b72; --unknown: #b99af0; --bar: #4a78ad; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1rem 4rem; max-width: 75rem; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; margin: 0; } h2 { font-size: 1.15rem; margin: 0; } h3 { font-size: 1rem; margin: 1rem 0 0; }
p { margin: .4rem 0; } ul { margin: .4rem 0; padding-left: 1.2rem; }
section { background: var(--card); border: 1px solid var(--line); border-left: .3rem solid var(--edge);
  border-radius: .4rem; padding: 1rem 1.2rem; margin-top: 1.2rem; overflow-wrap: anywhere; }
.ok { --edge: var(--ok); } .warning { --edge: var(--warning); } .critical { --edge: var(--critical); }
.unknown { --edge: var(--unknown); }
.pill { display: inline-block; border: 1px solid var(--edge); color: var(--edge); border-radius: 1rem;
  padding: 0 .6rem; font-size: .8rem; font-weight: 600; vertical-align: middle; }
.dim { color: var(--dim); font-size: .9rem; }
.scroll { overflow-x: auto; margin-top: .8rem; }
table { border-collapse: collapse; font-size: .9rem; }
th { text-align: left; color: var(--dim); font-weight: 600; font-size: .75rem; white-space: nowrap; }
th, td { padding: .25rem .9rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td { font-variant-numeric: tabular-nums; max-width: 22rem; overflow-wrap: break-word; }
.number { text-align: right; white-space: nowrap; } .time { white-space: nowrap; }
.age { padding-left: 1rem;
  background: linear-gradient(var(--bar), var(--bar)) no-repeat bottom right / var(--share) 4px; }
td.sql { font-family: ui-monospace, monospace; font-size: .85em; min-width: 20rem; max-width: 40rem; }
.bars { display: grid; grid-template-columns: minmax(8rem, max-content) 1fr max-content; gap: .35rem .8rem;
  align-items: center; margin-top: .8rem; font-size: .9rem; }
.track { position: relative; height: .8rem; background: var(--line); border-radius: .4rem; overflow: hidden; }
.fill { height: 100%; width: var(--share); background: var(--edge); }
.mark { position: absolute; top: 0; bottom: 0; left: var(--share); width: 2px; background: var(--ink); opacity: .55; }
figure { margin: .8rem 0 0; max-width: 44rem; } figcaption { color: var(--dim); font-size: .85rem; }
svg { width: 100%; height: auto; } svg text { font-size: 11px; fill: var(--dim); }
svg .grid { stroke: var(--line); } svg .limit { stroke: var(--critical); stroke-dasharray: 4 3; }
svg .area { fill: var(--bar); opacity: .3; } svg .line { fill: none; stroke: var(--bar); stroke-width: 1.5; }
svg circle.line { fill: var(--bar); }
@media print { body { background: none; } section { break-inside: avoid; } }
"""

_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
"""

_READER = Style(unicode=True)  # the page is ASCII with entities, so every reader sees every character


def render(run: Run, style: Style) -> str:
    """Return the page, in ASCII."""
    verdict = words.tally(run) if run.outcomes else "nothing was audited"
    title = f"connaudit {run.command}: {run.status.name}"
    when = f"{timestamp(run.started_at, style)}, {run.duration_ms} ms, connaudit {run.version}"
    body = [
        f'<header class="{run.status.word}"><h1>{_text(f"connaudit {run.command}")} {_pill(run.status)}</h1>',
        f"<p>{_text(verdict)}</p>",
        f'<p class="dim">{_text(when)}</p></header>',
        *(_story(target) for target in run.targets if target.story),
        _overview(run, style),
        *(_section(target, style) for target in run.targets),
    ]
    page = f"{_HEAD}<title>{_text(title)}</title>\n<style>{_CSS}</style>\n</head>\n<body>\n"
    page += "\n".join(part for part in body if part) + "\n</body>\n</html>\n"
    return page.encode("ascii", "xmlcharrefreplace").decode("ascii")


def _text(text: str) -> str:
    return html.escape(_READER.say(text))


def _pill(status: Status) -> str:
    return f'<span class="pill {status.word}">{status.name}</span>'


def _story(target: Audited) -> str:
    """Return the one cause of several verdicts."""
    cause, *advice = words.story(target)
    return f"<p><strong>{_text(f'{target.source.target}: {cause}')}</strong></p>\n{_list(advice)}"


def _overview(run: Run, style: Style) -> str:
    """Return how all stand, where there is more than one verdict."""
    if run.is_check:
        return _table(check_table(run, everything=True), style)
    brief = brief_table(run) if len(run.targets) > 1 else None
    return _table(brief, style) if brief else ""


def _section(target: Audited, style: Style) -> str:
    name, *rest = words.server_parts(target.source)
    parts = [
        f'<section class="{target.status.word}"><h2>{_text(name)} {_pill(target.status)}</h2>',
        f'<p class="dim">{" &middot; ".join(map(_text, rest))}</p>',
    ]
    several = len(target.outcomes) > 1
    for outcome in target.outcomes:
        parts += _outcome(outcome, style, titled=several)
    parts += [_list(words.remarks(target.reports)), "</section>"]
    return "\n".join(part for part in parts if part)


def _outcome(outcome: Outcome, style: Style, *, titled: bool) -> list[str]:
    if isinstance(outcome, Failure):
        hint = [outcome.error.hint] if outcome.error.hint else []
        sentence = f"<p><strong>{_text(words.failure_sentence(outcome))}</strong></p>"
        return [sentence, _list([*hint, *words.reading([outcome])])]
    title = f'<h3 class="{outcome.status.word}">{_text(outcome.check)} {_pill(outcome.status)}</h3>' if titled else ""
    told = [f"{found.code}: {found.message}" for found in words.further_findings(outcome)]
    tables = [_table(table, style) for table in (*outcome.overviews, outcome.table) if table]
    cuts = [f'<p class="dim">{_text(cut)}</p>' for cut in (left_out(outcome.table) if outcome.table else [])]
    sentence = f"<p><strong>{_text(outcome.headline)}</strong></p>"
    advice = _list([*outcome.details, *told, *words.hints(outcome), *words.reading([outcome])])
    plots = [_figure(plot, style) for plot in outcome.plots]
    return [title, sentence, advice, _bars(outcome, style), *plots, *tables, *cuts]


def _figure(plot: Plot, style: Style) -> str:
    return f"<figure><figcaption>{_text(plot.title)}</figcaption>{svg(plot, style)}</figure>"


def _list(sentences: Iterable[str]) -> str:
    items = "".join(f"<li>{_text(sentence)}</li>" for sentence in dict.fromkeys(sentences))
    return f"<ul>{items}</ul>" if items else ""


def _bars(report: Report, style: Style) -> str:
    """Return a bar for each number that has an upper end: a maximum, or a threshold above it."""
    bars = "".join(_bar(metric, report.status, style) for metric in report.metrics)
    return f'<div class="bars">{bars}</div>' if bars else ""


def _bar(metric: Metric, status: Status, style: Style) -> str:
    marks = [end for end in map(_upper_end, (metric.warning, metric.critical)) if end is not None]
    if not marks or metric.value < 0:
        return ""
    full = metric.maximum if metric.maximum is not None else max(metric.value, *(mark * 1.25 for mark in marks))
    if not full:
        return ""
    most = f" of {quantity(metric.maximum, metric.unit, style)}" if metric.maximum is not None else ""
    lines = "".join(f'<div class="mark" style="--share:{_share(mark, full)}"></div>' for mark in marks)
    level = _level(metric)
    return (
        f"<div>{_text(family(metric)[1].rstrip('.'))}</div>"
        f'<div class="track {level.word}"><div class="fill" style="--share:{_share(metric.value, full)}"></div>{lines}'
        f'</div><div class="number">{_text(quantity(metric.value, metric.unit, style) + most)}</div>'
    )


def _level(metric: Metric) -> Status:
    """Return which of its own marks a number has passed."""
    for status, threshold in ((Status.CRITICAL, metric.critical), (Status.WARNING, metric.warning)):
        end = _upper_end(threshold)
        if end is not None and metric.value > end:
            return status
    return Status.OK


def _upper_end(threshold: str | None) -> float | None:
    """Return the end of a range above which it alerts; None for lower bounds and ranges of bad values."""
    match = re.fullmatch(r"(?:[~\d.]*:)?(\d+(?:\.\d+)?)", threshold or "")
    return float(match[1]) if match else None


def _share(value: float, full: float) -> str:
    return f"{max(0.0, min(1.0, value / full)) * 100:.1f}%"


def _table(table: Table, style: Style) -> str:
    """Return a table with a bar behind each age; nothing if it has no rows."""
    if not table.rows:
        return ""
    shown = [place for place, column in enumerate(table.columns) if column.show <= Show.WIDE]
    values = list(zip(*table.rows, strict=True))
    columns = [_cells(table.columns[place], values[place], style) for place in shown]
    header = "".join(
        f"<th{_class(table.columns[place], values[place])}>{_text(table.columns[place].label)}</th>" for place in shown
    )
    rows = "".join(f"<tr>{''.join(row)}</tr>\n" for row in zip(*columns, strict=True))
    return f'<div class="scroll"><table>\n<thead><tr>{header}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>'


def _class(column: Column, values: Sequence[Value]) -> str:
    if stands_right(column, values):
        return ' class="number"'
    return {Unit.SQL: ' class="sql"', Unit.TIMESTAMP: ' class="time"'}.get(column.unit, "")


def _cells(column: Column, values: Sequence[Value], style: Style) -> list[str]:
    texts = [html.escape(text) for text in cells(column, values, Style(unicode=True, utc=style.utc))]
    if column.key == "status":
        return [
            f"<td>{_pill(Status[text])}</td>" if text in Status.__members__ else f"<td>{text}</td>" for text in texts
        ]
    if column.unit is Unit.SECONDS:
        return [_age(text, value, values) for text, value in zip(texts, values, strict=True)]
    opening = f"<td{_class(column, values)}>"
    return [f"{opening}{text}</td>" for text in texts]


def _age(text: str, value: Value, values: Sequence[Value]) -> str:
    oldest = max((other for other in values if isinstance(other, (int, float))), default=0)
    if not isinstance(value, (int, float)) or oldest <= 0:
        return f'<td class="number">{text}</td>'
    return f'<td class="number age" style="--share:{_share(value, oldest)}">{text}</td>'
