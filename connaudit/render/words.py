"""The sentences that all human formats share."""

from collections import Counter
from collections.abc import Iterable

from connaudit.render.run import Audited, Run
from connaudit.report import Failure, Finding, Outcome, Report, Source, Status, gravity
from connaudit.snapshot import Gap
from connaudit.units import format_duration, plural

_PRODUCTS = {"postgresql": "PostgreSQL", "mysql": "MySQL", "mariadb": "MariaDB"}
_UNREACHABLE = ("dns", "refused", "timeout", "tls")
_OWN_CHOICE = ("", "argument", "config")  # where a reader would look first: not worth a word


def server_parts(source: Source) -> list[str]:
    """Return which server it was, where, as whom, and what led there."""
    parts = [source.target, product(source), place(source)]
    server = source.server
    if server and server.replica:
        parts.append("replica")
    if server and server.via_pooler:
        parts.append("via pooler")
    if source.origin not in _OWN_CHOICE:
        taken = f", taken {source.taken_at}" if source.origin == "file" and source.taken_at else ""
        parts.append(f"(from {source.origin}{taken})")
    return [part for part in parts if part]


def product(source: Source) -> str:
    """Return the product with its version, or the kind of server that was to answer."""
    if source.server is None:
        return _PRODUCTS.get(source.engine, source.engine)
    version = source.server.version_text
    return version if version.startswith(source.server.product) else f"{source.server.product} {version}"


def place(source: Source) -> str:
    """Return address and role; a target named after its address is not named twice."""
    address = str(source.address)
    parts = ["" if address == source.target else address, f"as {source.address.user}" if source.address.user else ""]
    return " ".join(part for part in parts if part)


def headline(outcome: Outcome) -> str:
    """Return the sentence that goes with the verdict."""
    return outcome.headline if isinstance(outcome, Report) else failure_sentence(outcome)


def short(outcome: Outcome) -> str:
    """Return the few words that go with the verdict in one line of many."""
    return (outcome.value or outcome.headline) if isinstance(outcome, Report) else failure_words(outcome)


def failure_sentence(failure: Failure) -> str:
    """Return why a target was not audited."""
    words = failure_words(failure)
    if failure.is_full or failure.error.stage in (None, "query") or words.startswith("cannot"):
        return words
    return f"cannot connect: {words}"


def failure_words(failure: Failure) -> str:
    """Return the error, and for one that ran out of time how far it came."""
    error = failure.error
    if error.kind != "timeout" or not error.stage or error.stage in error.message:
        return error.message
    return f"{error.message} ({error.stage})"


def gap_sentences(gaps: Iterable[Gap], *, everything: bool = True) -> list[str]:
    """Return what was not seen and why: gaps of one cure are one sentence, and the cure follows.

    Where the verdict holds in spite of it, the cure, which may be several lines of a server's configuration, is said
    only to those who want everything.
    """
    by_cure: dict[tuple[bool, str | None], list[str]] = {}
    for gap in gaps:
        by_cure.setdefault((gap.partial, gap.cure), []).append(gap.why)
    sentences = []
    for (partial, cure), reasons in sorted(by_cure.items(), key=lambda item: item[0][0]):
        seen = "seen only in part" if partial else "not seen"
        told = f"; to see it: {cure}" if everything or not partial else " (-v says how to see it)"
        sentences.append(f"{seen}: {'; '.join(dict.fromkeys(reasons))}" + (told if cure else ""))
    return sentences


def remarks(reports: Iterable[Report], *, everything: bool = True) -> list[str]:
    """Return gaps and notes of a target, each once."""
    several = list(reports)
    gaps = dict.fromkeys(gap for report in several for gap in report.gaps)
    notes = [f"note: {note}" for report in several for note in report.notes]
    return [*gap_sentences(gaps, everything=everything), *dict.fromkeys(notes)]


def took(source: Source) -> list[str]:
    """Return how long each stage of asking took; nothing where that is not known."""
    stages = ", ".join(f"{name} {format_duration(seconds)}" for name, seconds in source.stages)
    return [f"took: {stages}"] if stages else []


def further_findings(report: Report, *, everything: bool = False) -> list[Finding]:
    """Return the findings that neither the headline nor a row of the table has told."""
    if everything:
        return list(report.findings)
    return [found for found in report.findings if not found.sessions and found.message not in report.headline]


def hints(report: Report) -> list[str]:
    """Return what to do, each piece of advice once: not against what a story explains, which has its own."""
    told = report.story.hint if report.story else None
    own = (found.hint for found in report.findings if found.hint and not found.because)
    return [hint for hint in dict.fromkeys(own) if hint != told]


def reading(outcomes: Iterable[Outcome]) -> list[str]:
    """Return where to read about what was found, the gravest first; nothing if nothing was."""
    found = (f for o in outcomes for f in (o.findings if isinstance(o, Report) else (o.finding,)))
    ranked = sorted(found, key=lambda finding: gravity(finding.status), reverse=True)
    first, *others = dict.fromkeys(finding.code for finding in ranked) or [None]
    also = f" (also {', '.join(code for code in others if code)})" if others else ""
    return [f"more: connaudit explain {first}{also}"] if first else []


def story(target: Audited) -> list[str]:
    """Return the one cause behind several verdicts with what to do about it; nothing if there is none."""
    told = target.story
    if told is None:
        return []
    checks = ", ".join(told.checks)
    return [f"one cause of {checks}: {told.message}", *([f"hint: {told.hint}"] if told.hint else [])]


def tally(run: Run) -> str:
    """Return the last line of a run: how many targets (or checks of one) stand how."""
    targets = run.targets
    if len(targets) == 1 and len(targets[0].reports) > 1:
        verdicts = Counter(report.status for report in targets[0].reports)
        counted = f"{plural(len(targets[0].reports), 'check')} of {targets[0].source.target}"
        return f"{counted}: {_counted(verdicts, ())}"
    failures = [target.failure for target in targets if target.failure and not target.failure.is_full]
    verdicts = Counter(target.status for target in targets if not _is_lost(target))
    return f"{plural(len(targets), 'target')}: {_counted(verdicts, failures)}"


def _is_lost(target: Audited) -> bool:
    return target.failure is not None and not target.failure.is_full


def _counted(verdicts: Counter[Status], failures: Iterable[Failure]) -> str:
    """Return `1 critical, 2 ok, 1 not reachable`, the gravest first."""
    order = sorted(verdicts, key=gravity, reverse=True)
    lost = Counter("not reachable" if f.error.kind in _UNREACHABLE else "not audited" for f in failures)
    parts = [f"{verdicts[status]} {status.word}" for status in order]
    return ", ".join(parts + [f"{count} {words}" for words, count in sorted(lost.items(), reverse=True)])
