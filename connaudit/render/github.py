"""Workflow commands, by which GitHub's runners make annotations of findings."""

from connaudit.render import words
from connaudit.render.run import Audited, Run
from connaudit.render.style import Style
from connaudit.render.text import guarded
from connaudit.report import Failure, Outcome, Report, Status

_COMMANDS = {Status.WARNING: "warning", Status.CRITICAL: "error", Status.UNKNOWN: "error", Status.OK: "notice"}


def render(run: Run, style: Style) -> str:
    """Return one annotation per finding, and the verdict on the last line."""
    lines = [line for target in run.targets for line in _annotations(target, style)]
    verdict = words.tally(run) if run.outcomes else "nothing was audited"
    return "\n".join([*lines, f"{run.status.name}  {style.say(verdict)}"]) + "\n"


def _annotations(target: Audited, style: Style) -> list[str]:
    return [line for outcome in target.outcomes for line in _of_outcome(outcome, style)]


def _of_outcome(outcome: Outcome, style: Style) -> list[str]:
    """Return a line for each finding, or one for a verdict that has none; what is well is only said."""
    name = outcome.source.target
    if outcome.status is Status.OK:
        return [guarded(style.say(f"{name}: OK  {words.headline(outcome)}"))]
    if isinstance(outcome, Failure):
        titled = f"{outcome.status.name} {name}"
        return [_command(outcome.status, titled, words.failure_sentence(outcome), outcome.error.hint, style)]
    found = [_command(f.status, f"{f.code} {name}", f.message, f.hint, style) for f in outcome.findings]
    return found or [_verdict(outcome, style)]


def _verdict(report: Report, style: Style) -> str:
    hint = "; ".join(words.gap_sentences(report.gaps))
    return _command(report.status, f"{report.check} {report.source.target}", report.headline, hint or None, style)


def _command(status: Status, title: str, message: str, hint: str | None, style: Style) -> str:
    """Return one command; a runner unescapes percent, line ends and, in properties, colon and comma."""
    said = style.say(message).replace("%", "%25")
    advice = f"%0A{style.say(hint).replace('%', '%25')}" if hint else ""
    name = style.say(title).replace("%", "%25").replace(":", "%3A").replace(",", "%2C")
    return f"::{_COMMANDS[status]} title={name}::{said}{advice}"
