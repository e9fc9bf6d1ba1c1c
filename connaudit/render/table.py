"""What a person reads: on a terminal fitted to its width, elsewhere plain records with nothing cut."""

from collections.abc import Iterable
from dataclasses import replace

from connaudit.render import words
from connaudit.render.layout import GAP, NARROWEST, blocks, fitted, grid, lines
from connaudit.render.run import Audited, Run
from connaudit.render.style import Style
from connaudit.render.tables import brief_table, check_table, left_out, rows_table
from connaudit.render.terminal import MOST_ROWS, drawn, painted
from connaudit.render.text import fold
from connaudit.report import Failure, Outcome, Report, Status, Table

Lines = list[str]


def render(run: Run, style: Style) -> str:
    """Return the report as text, its most important line first or last."""
    if style.wide:
        style = replace(style, width=None)
    if not run.outcomes:
        parts = [_status_lines(run.status, ["nothing was audited"], style)]
    elif run.is_check:
        parts = _checks(run, style)
    elif len(run.targets) == 1:
        parts = _one(run.targets[0], style)
    else:
        parts = _several(run, style)
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _one(target: Audited, style: Style) -> list[Lines]:
    """Return all about one target: each part is a paragraph."""
    header = "  ".join(map(style.say, words.server_parts(target.source)))
    parts = [fold(header, style.width, 2) if style.header else []]
    for outcome in target.outcomes:
        parts.extend(_report(outcome, style) if isinstance(outcome, Report) else [_verdict(outcome, style)])
    remarks = words.remarks(target.reports, everything=style.verbose)
    return [*parts, _prose([*remarks, *(words.took(target.source) if style.verbose else [])], style)]


def _report(report: Report, style: Style) -> list[Lines]:
    """Return verdict and tables: a verdict with overviews leads, one that sums up a list of sessions closes."""
    rows, footer = table_lines(report.table, style) if report.table else ([], [])
    if report.overviews:
        overviews = (table_lines(table, style)[0] for table in report.overviews)
        return [_verdict(report, style), *overviews, rows, footer]
    return [rows, footer + _verdict(report, style)]


def _verdict(outcome: Outcome, style: Style) -> Lines:
    """Return the verdict with what explains it and what to do about it."""
    if isinstance(outcome, Failure):
        below = [f"hint: {outcome.error.hint}"] if outcome.error.hint else []
    else:
        below = [*outcome.details, *_advised(outcome, style)]
    return _status_lines(outcome.status, [words.headline(outcome), *below, *words.reading([outcome])], style)


def _advised(report: Report, style: Style) -> Lines:
    """Return what was found, each with what to do about it, and the hints of what is told elsewhere."""
    hints = dict.fromkeys(words.hints(report))
    lines = []
    for found in words.further_findings(report, everything=style.verbose):
        lines.append(f"{found.status.name} {found.code}: {found.message}")
        if found.hint in hints:
            del hints[found.hint]
            lines.append(f"hint: {found.hint}")
    return [*lines, *(f"hint: {hint}" for hint in hints)]


def _status_lines(status: Status, sentences: Iterable[str], style: Style, indent: int = 0) -> Lines:
    """Return `CRITICAL  94 of 97 ...` with further sentences below the first; on a narrow terminal, below the word."""
    word = painted(status.name, status, style)
    if style.width is not None and style.width < NARROWEST:
        return [word, *_prose(sentences, style)]
    indent = max(indent, len(status.name) + GAP)
    room = None if style.width is None else style.width - indent
    texts = [line for sentence in sentences for line in fold(style.say(sentence), room)]
    return [word + " " * (indent - len(status.name)) + texts[0], *(" " * indent + text for text in texts[1:])]


def _prose(sentences: Iterable[str], style: Style) -> Lines:
    return [line for sentence in sentences for line in fold(style.say(sentence), style.width, 2)]


def table_lines(table: Table, style: Style) -> tuple[Lines, Lines]:
    """Return the lines of a table, and what must be said about rows and columns that are left out."""
    if not table.rows:
        return [], []
    whole = grid(table, style)
    laid = fitted(whole, style.width)
    footer = left_out(table)
    if laid is None:
        return blocks(whole, style.width or NARROWEST), _prose(footer, style)
    if laid.hidden:
        footer.append(f"hidden at this width: {', '.join(laid.hidden)}; use -f wide or --json")
    is_small = laid.height <= MOST_ROWS
    drawn_lines = drawn(laid, style) if style.is_terminal and is_small else lines(laid, style)
    return drawn_lines, _prose(footer, style)


def _checks(run: Run, style: Style) -> list[Lines]:
    """Return one line per verdict."""
    rows, footer = table_lines(check_table(run, everything=style.verbose), style)
    verdict = _status_lines(run.status, [words.tally(run)], style)
    return [*_stories(run, style), rows, footer, _all_advice(run, style), verdict]


def _stories(run: Run, style: Style) -> Iterable[Lines]:
    """Yield what several verdicts on a target have for their one cause, a paragraph each."""
    for target in run.targets:
        if target.story:
            first, *further = words.story(target)
            yield _status_lines(target.story.status, [f"{target.source.target}: {first}", *further], style)


def _all_advice(run: Run, style: Style) -> Lines:
    advice = [line for target in run.targets for line in _advice(target, style)]
    return advice + _prose(words.reading(run.outcomes), style)


def _advice(target: Audited, style: Style) -> Lines:
    """Return what was not seen of a target and, on demand, what to do about what was."""
    sentences = (
        words.remarks(target.reports, everything=style.verbose)
        if target.status is not Status.OK or style.verbose
        else []
    )
    if style.verbose:
        sentences += words.took(target.source)
        sentences += [f"hint: {hint}" for report in target.reports for hint in words.hints(report)]
        failure = target.failure
        sentences += [f"hint: {failure.error.hint}"] if failure and failure.error.hint else []
    return _prose((f"{target.source.target}: {sentence}" for sentence in dict.fromkeys(sentences)), style)


def _several(run: Run, style: Style) -> list[Lines]:
    """Return many targets: one line each where the diagnostic has one, else all their rows below each other."""
    briefs = brief_table(run)
    parts = _briefs(briefs, run, style) if briefs else _rows(run, style)
    parts.append(_all_advice(run, style))
    if style.verbose:
        parts.extend(part for target in run.targets for part in _one(target, style))
    return [*parts, _status_lines(run.status, [words.tally(run)], style)]


def _briefs(table: Table, run: Run, style: Style) -> list[Lines]:
    """Return each target as a row; what failed has its reason below."""
    rows, footer = table_lines(table, style)
    return [rows, footer, [line for target in run.targets if target.failure for line in _target_lines(target, style)]]


def _rows(run: Run, style: Style) -> list[Lines]:
    """Return the rows of all targets in one table, what was left out of each, and each verdict."""
    table = rows_table(run)
    rows, footer = table_lines(table, style) if table else ([], [])
    reports = [(target, report.table) for target in run.targets for report in target.reports if report.table]
    cuts = [f"{target.source.target}: {sentence}" for target, table in reports for sentence in left_out(table)]
    verdicts = [line for target in run.targets for line in _target_lines(target, style)]
    return [rows, footer + _prose(cuts, style), verdicts]


def _target_lines(target: Audited, style: Style) -> Lines:
    sentences = [f"{target.source.target}: {words.headline(outcome)}" for outcome in target.outcomes]
    return _status_lines(target.status, sentences, style, len(Status.CRITICAL.name) + GAP)
