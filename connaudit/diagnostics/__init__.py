"""The questions that connaudit answers: one module each, whose docstring is its help.

A module offers `NEEDS` (without these facts there is no verdict), `WANTS` (shown where the server tells), `METRICS`
(the first is meant where a threshold names none), `WARNING` and `CRITICAL` (default thresholds), `CODES` (of the
findings that it can make), `COLUMNS` (of its rows) and `SUMMARY`, where it has them `BRIEF` and `OVERVIEWS`, a frozen
`Options`, and `run(snapshot, options) -> Report`, which is pure: no clock, no driver, no terminal. One that can tell
more from several snapshots of a target offers `run_series` besides.
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol

from connaudit.dataclass import dataclass
from connaudit.options import Options, Sql
from connaudit.report import Column, Report
from connaudit.snapshot import Fact, Snapshot
from connaudit.thresholds import Metric

# In the order in which `check` asks them. The name is the command; the module has underscores for hyphens.
NAMES = ("count", "idle-tx", "long-queries", "blocking", "leaks")

# Answered by commands of their own, and never by `check`.
APART = ("doctor", "reach", "inspect", "around")


class Run(Protocol):
    """How a diagnostic judges."""

    def __call__(self, snapshot: Snapshot, options: Any) -> Report: ...  # noqa: D102 - the module says it


class RunSeries(Protocol):
    """How a diagnostic judges several snapshots of one target, in the order of time."""

    def __call__(self, snapshots: Sequence[Snapshot], options: Any) -> Report: ...  # noqa: D102 - the module says it


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One question, made from its module."""

    name: str
    help: str
    needs: frozenset[Fact]
    wants: frozenset[Fact]
    metrics: tuple[Metric, ...]
    warning: tuple[str, ...]
    critical: tuple[str, ...]
    codes: tuple[str, ...]
    options: type[Options]
    run: Run
    run_series: RunSeries | None  # None: it knows one look only
    columns: tuple[Column, ...]  # of the rows
    brief: tuple[Column, ...]  # of the one row that stands for a target among many
    summary: tuple[Column, ...]
    overviews: Mapping[str, tuple[Column, ...]]  # tables that stand in the summary, by key

    def facts(self, options: Options) -> frozenset[Fact]:
        """Return what to read from the server: no statement texts for somebody who wants to see none."""
        facts = self.needs | self.wants | options.facts
        return facts - {Fact.QUERIES} if options.sql is Sql.NONE else facts


def diagnostic(name: str) -> Diagnostic:
    """Return the diagnostic of that name; KeyError if there is none."""
    if name not in (*NAMES, *APART):
        raise KeyError(name)
    module = import_module(f"connaudit.diagnostics.{name.replace('-', '_')}")
    return Diagnostic(
        name=name,
        help=module.__doc__ or "",
        needs=module.NEEDS,
        wants=module.WANTS,
        metrics=module.METRICS,
        warning=module.WARNING,
        critical=module.CRITICAL,
        codes=module.CODES,
        options=module.Options,
        run=module.run,
        run_series=getattr(module, "run_series", None),
        columns=module.COLUMNS,
        brief=getattr(module, "BRIEF", ()),
        summary=module.SUMMARY,
        overviews=getattr(module, "OVERVIEWS", {}),
    )
