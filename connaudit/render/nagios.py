"""The output of a monitoring plugin, for Nagios, Icinga and their kin.

The first line is short. Perfdata stands behind the last line: Nagios reads all that follows a bar in long output as
perfdata, Icinga only the rest of the line, and both read this.
"""

import math
import re
from decimal import Decimal

from connaudit.render import words
from connaudit.render.run import Audited, Run
from connaudit.render.style import Style
from connaudit.render.text import clean, cut, to_ascii
from connaudit.report import Failure, Metric, Outcome, Status, Unit, worst

LONGEST_FIRST_LINE = 200  # characters; longer ones do not fit into a pager, an SMS or old NRPE's packet


def render(run: Run, style: Style) -> str:
    """Return a line for the run, and one per target where there are several or one line would be too long."""
    targets = run.targets
    is_one = len(targets) == 1
    said = _said(targets[0], style) if is_one else _text(words.tally(run) if targets else "nothing was audited", style)
    said = "; ".join((said, *(_text(error.message, style) for error in run.errors)))  # nobody reads standard error
    status = worst([run.status, Status.UNKNOWN if run.errors else Status.OK])
    first = f"CONNAUDIT {status.name} - {said}"
    numbers = _perfdata(run)
    whole = f"{first} | {numbers}" if numbers else first
    if is_one and len(whole) <= LONGEST_FIRST_LINE:
        return whole + "\n"
    lines = [cut(first, LONGEST_FIRST_LINE), *(f"{t.status.name} - {_said(t, style)}" for t in targets)]
    return "\n".join(lines) + (f" | {numbers}" if numbers else "") + "\n"


def _text(text: str, style: Style) -> str:
    """Return text without the bar, which begins perfdata."""
    return re.sub(r" *\| *", " ", style.say(text))


def _said(target: Audited, style: Style) -> str:
    """Return what is wrong with one target, or that all is well."""
    bad = [outcome for outcome in target.outcomes if outcome.status is not Status.OK]
    if len(target.outcomes) > 1 and not bad:
        return _text(f"{target.source.target}: all {len(target.outcomes)} checks are well", style)
    several = len(target.outcomes) > 1
    verdicts = [_verdict(outcome, named=several) for outcome in bad or target.outcomes]
    if target.status is Status.UNKNOWN:  # not without the reason, and the grant that cures it
        gaps = dict.fromkeys(gap for report in target.reports for gap in report.gaps if not gap.partial)
        verdicts += words.gap_sentences(gaps)
    if target.story:
        verdicts.insert(0, target.story.value)
    return _text(f"{target.source.target}: {'; '.join(verdicts)}", style)


def _verdict(outcome: Outcome, *, named: bool) -> str:
    if isinstance(outcome, Failure):
        return words.failure_sentence(outcome)
    return f"{outcome.check}: {words.short(outcome)}" if named else words.short(outcome)


def _perfdata(run: Run) -> str:
    """Return all numbers, each label once: several targets are told apart by their names."""
    several = len(run.targets) > 1
    found = (
        performance(metric, f"{target.source.target} " if several else "")
        for target in run.targets
        for report in target.reports
        for metric in report.metrics
    )
    return " ".join({text.partition("=")[0]: text for text in found}.values())


def performance(metric: Metric, prefix: str = "") -> str:
    """Return 'label'=value[UOM];warn;crit;min;max in base units.

    >>> performance(Metric("used", 94, Unit.CONNECTIONS, "77.6", "87.3", 0, 97))
    "'used'=94;77.6;87.3;0;97"
    """
    label = clean(prefix + "_".join([metric.name, *(value for _, value in metric.labels)]))
    label = to_ascii(re.sub(r"['=|]", "_", label)) or "_"
    unit = "s" if metric.unit is Unit.SECONDS else ""
    bounds = [metric.warning or "", metric.critical or "", _bound(metric.minimum), _bound(metric.maximum)]
    value = number(metric.value)
    return f"'{label}'={value + unit if value else 'U'};{';'.join(bounds)}".rstrip(";")


def _bound(value: float | None) -> str:
    return "" if value is None else number(value)


def number(value: float) -> str:
    """Return a plain decimal, never with an exponent; nothing for what is no number.

    >>> number(94.0), number(0.00001), number(1e22), number(float("nan"))
    ('94', '0.00001', '10000000000000000000000', '')
    """
    if not math.isfinite(value):
        return ""
    text = f"{Decimal(str(value)):f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"
