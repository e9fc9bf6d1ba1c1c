"""Findings as Markdown: the table of goals, the costs for a server, and curves that any reader can show."""

import math
import re
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.costs import HEAD
from tests.benchmarks.goals import Findings

BAR = 40  # characters of the longest
GOALS = ("goal", "what", "limit", "measured", "", "beside")


def markdown(found: Findings, where: str) -> str:
    """Return everything."""
    return "\n\n".join(part for part in parts(found, where).values() if part)


def parts(found: Findings, where: str) -> dict[str, str]:
    """Return the text of each marked part, empty where nothing was measured."""
    goals = sorted(found.goals, key=lambda goal: int(re.sub(r"\D", "", goal.name)))
    notes = "".join(f"\n- not measured: {text}" for text in found.missing)
    curves = [*_curve("sessions listed", found.sessions), *_curve("targets at 50 ms", found.targets)]
    return {
        "goals": f"{table(GOALS, [goal.cells() for goal in goals])}\n\nMeasured on {where}.{notes}" if goals else "",
        "costs": table(HEAD, found.costs) if found.costs else "",
        "curves": "\n".join(curves),
    }


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _curve(title: str, points: Sequence[tuple[int, float]]) -> list[str]:
    """Return bars of seconds by size, each ten times as many being a step: a block of text, no picture."""
    if not points:
        return []
    most = max(seconds for _, seconds in points)
    bars = [f"{size:>8,}  {seconds:6.2f} s  {'#' * math.ceil(seconds / most * BAR)}" for size, seconds in points]
    return ["```", title, *bars, "```"]


def record(found: Findings, where: str, file: Path) -> None:
    """Put what was measured between `<!-- measured: NAME -->` and `<!-- end -->`; what was not stays as it is."""
    text = file.read_text(encoding="utf-8")
    for name, part in parts(found, where).items():
        if part:
            marked = re.compile(rf"(<!-- measured: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
            text = marked.sub(lambda match, part=part: f"{match[1]}{part}\n{match[2]}", text)  # type: ignore[misc]
    file.write_text(text, encoding="utf-8")
