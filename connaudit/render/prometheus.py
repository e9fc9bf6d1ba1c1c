"""Prometheus' text format 0.0.4, for node_exporter's textfile collector.

Only gauges, no timestamps (one would make the collector skip the file), and nothing about what was not measured.
Labels never hold process ids, statements or addresses of clients.
"""

import math
from collections.abc import Iterable
from datetime import datetime

from connaudit.render.nagios import number
from connaudit.render.run import Audited, Run
from connaudit.render.style import Style
from connaudit.render.text import clean, to_ascii
from connaudit.report import Metric, Unit

# The name of a metric in a report; the family, below connaudit_; its help, which must be the same in every file.
FAMILIES = {
    "connections": ("connections", "Connections of clients by state."),
    "used": ("connections_used", "Connections in use, without connaudit's own."),
    "usable": ("connections_usable", "Connections that ordinary roles can have at most."),
    "free": ("connections_free", "Connections left for ordinary roles."),
    "idle_tx": ("idle_in_transaction_sessions", "Sessions idle inside a transaction."),
    "idle_tx_oldest": ("idle_in_transaction_oldest_age_seconds", "Longest time idle inside a transaction."),
    "tx_oldest": ("idle_in_transaction_oldest_transaction_age_seconds", "Oldest transaction of an idle session."),
    "idle_tx_blocking": ("idle_in_transaction_blocked_sessions", "Sessions that wait behind idle transactions."),
    "long_queries": ("long_queries", "Statements running for long."),
    "long_query_oldest": ("long_query_oldest_age_seconds", "Longest running statement."),
    "client_wait_oldest": ("client_wait_oldest_age_seconds", "Longest statement that waits for its client."),
    "blocked": ("blocked_sessions", "Sessions that wait for a lock."),
    "lock_wait_oldest": ("lock_wait_oldest_age_seconds", "Longest wait for a lock."),
    "blocking_depth": ("lock_wait_depth", "Longest chain of sessions that wait for each other."),
    "suspects": ("leak_suspects", "Groups of connections that nobody seems to use any more."),
    "growth": ("leak_growth_per_hour", "Connections that come to stay, per hour."),
    "exhaustion": ("leak_exhaustion_seconds", "Time until no connection is left, if nothing changes."),
    "pool_waiting": ("pool_clients_waiting", "Clients of a pooler that wait for a server."),
    "pool_wait": ("pool_wait_oldest_age_seconds", "Longest wait of a pooler's client."),
    "pool_used": ("pool_servers_used", "Servers of a pool in use."),
}
_OF_THE_RUN = {
    "up": "Whether the target could be audited.",
    "check_status": "Verdict: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.",
    "run_duration_seconds": "How long the audit took.",
    "last_run_timestamp_seconds": "When the audit began.",
    "build_info": "Version of connaudit.",
}
_SUFFIX = {Unit.SECONDS: "_seconds", Unit.RATIO: "_ratio"}

Labels = tuple[tuple[str, str], ...]
Samples = dict[str, dict[Labels, float]]


def render(run: Run, style: Style) -> str:
    """Return every family with its help and type once, the samples of a family together."""
    samples: Samples = {}
    helps = {f"connaudit_{name}": text for name, text in _OF_THE_RUN.items()}
    for target in run.targets:
        _add(samples, "connaudit_up", _up_labels(target), 0 if target.failure else 1)
    for target in run.targets:
        for metric in (metric for report in target.reports for metric in report.metrics):
            name, help_text = family(metric)
            helps[name] = help_text
            _add(samples, name, (("target", target.source.target), *metric.labels), metric.value)
    for target in run.targets:
        for check, status in _verdicts(target):
            _add(samples, "connaudit_check_status", (("target", target.source.target), ("check", check)), status)
    _add(samples, "connaudit_run_duration_seconds", (), run.duration_ms / 1000)
    _add(samples, "connaudit_last_run_timestamp_seconds", (), datetime.fromisoformat(run.started_at).timestamp())
    _add(samples, "connaudit_build_info", (("version", run.version),), 1)
    return "".join(_family_text(name, helps[name], samples[name]) for name in samples)


def family(metric: Metric) -> tuple[str, str]:
    """Return a metric's full name and help; one that the table lacks is named after itself."""
    if metric.name in FAMILIES:
        name, help_text = FAMILIES[metric.name]
        return f"connaudit_{name}", help_text
    name = metric.name.replace("-", "_")
    return f"connaudit_{name}{_SUFFIX.get(metric.unit, '')}", f"{name.replace('_', ' ').capitalize()}."


def _add(samples: Samples, name: str, labels: Labels, value: float) -> None:
    """Keep a sample; the same series twice would make the whole file invalid."""
    if math.isfinite(value):
        samples.setdefault(name, {}).setdefault(labels, value)


def _up_labels(target: Audited) -> Labels:
    return (("target", target.source.target), ("engine", target.source.engine))


def _verdicts(target: Audited) -> Iterable[tuple[str, int]]:
    for report in target.reports:
        yield report.check, int(report.status)
    if target.failure:
        for check in target.failure.checks:
            yield check, int(target.failure.status)


def _family_text(name: str, help_text: str, samples: dict[Labels, float]) -> str:
    lines = [f"# HELP {name} {help_text}", f"# TYPE {name} gauge"]
    lines += [f"{name}{_label_text(labels)} {number(value)}" for labels, value in samples.items()]
    return "\n".join(lines) + "\n"


def _label_text(labels: Labels) -> str:
    return "{" + ",".join(f'{key}="{_escaped(value)}"' for key, value in labels) + "}" if labels else ""


def _escaped(value: str) -> str:
    """Return a label's value in ASCII: a series must not change its name with the locale of a run."""
    return to_ascii(clean(value)).replace("\\", "\\\\").replace('"', '\\"')
