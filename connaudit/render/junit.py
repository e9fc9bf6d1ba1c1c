"""JUnit's XML, for CI systems that show tests: one suite per target, one case per check."""

from datetime import UTC, datetime
from xml.etree import ElementTree as ET

from connaudit.render import words
from connaudit.render.run import Audited, Run
from connaudit.render.style import Style
from connaudit.render.text import clean
from connaudit.report import Failure, Outcome, Report, Status


def render(run: Run, style: Style) -> str:
    """Return the document in ASCII: what is bad is a failure, what could not be determined an error."""
    root = ET.Element("testsuites")
    for index, target in enumerate(run.targets):
        root.append(_suite(target, index, run))
    ET.indent(root)
    text: str = ET.tostring(root, encoding="us-ascii", xml_declaration=False).decode()
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _suite(target: Audited, index: int, run: Run) -> ET.Element:
    """Return one target; targets are audited at once, so each suite takes as long as the run."""
    cases = [(name, outcome) for outcome in target.outcomes for name in _case_names(outcome, run)]
    verdicts = [outcome.status for _, outcome in cases]
    errors = verdicts.count(Status.UNKNOWN)
    attributes = {
        "id": str(index),
        "package": f"connaudit.{run.command}",
        "name": _text(target.source.target),
        "timestamp": datetime.fromisoformat(run.started_at).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
        "hostname": _text(target.source.address.host) or "localhost",
        "time": f"{run.duration_ms / 1000:.3f}",
        "tests": str(len(cases)),
        "failures": str(len(cases) - errors - verdicts.count(Status.OK)),
        "errors": str(errors),
    }
    suite = ET.Element("testsuite", attributes)
    ET.SubElement(suite, "properties")
    suite.extend(_case(name, outcome) for name, outcome in cases)
    ET.SubElement(suite, "system-out").text = "\n".join(_text(words.headline(outcome)) for outcome in target.outcomes)
    ET.SubElement(suite, "system-err").text = "\n".join(map(_text, words.remarks(target.reports)))
    return suite


def _case_names(outcome: Outcome, run: Run) -> tuple[str, ...]:
    return (outcome.check,) if isinstance(outcome, Report) else outcome.checks or (run.command,)


def _case(name: str, outcome: Outcome) -> ET.Element:
    case = ET.Element("testcase", classname=_text(outcome.source.target), name=_text(name), time="0")
    if outcome.status is not Status.OK:
        kind = "error" if outcome.status is Status.UNKNOWN else "failure"
        said = ET.SubElement(case, kind, type=_kind(outcome), message=_text(words.headline(outcome)))
        said.text = "\n".join(_advice(outcome))
    return case


def _kind(outcome: Outcome) -> str:
    if isinstance(outcome, Failure):
        return outcome.error.kind
    return outcome.findings[0].code if outcome.findings else outcome.status.name


def _advice(outcome: Outcome) -> list[str]:
    """Return each finding with its hint, or what failed."""
    if isinstance(outcome, Failure):
        return [_text(text) for text in (words.failure_sentence(outcome), outcome.error.hint) if text]
    told = [f"{f.status.name} {f.code}: {f.message}" + (f" ({f.hint})" if f.hint else "") for f in outcome.findings]
    return [_text(text) for text in (told or [outcome.headline]) + words.gap_sentences(outcome.gaps)]


def _text(text: str) -> str:
    """Return text that XML can hold: it has no way to write control characters."""
    return clean(text)
