"""`--save` and `--from`: samples kept in a file, and judged again without the servers."""

import datetime as dt
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace

from connaudit import saved
from connaudit.audit import Plan, judged
from connaudit.cli import output
from connaudit.cli.planning import Fleet, Setup, expiries, plan_of
from connaudit.diagnostics import Diagnostic
from connaudit.engines import Taken
from connaudit.errors import UsageError
from connaudit.options import fits
from connaudit.report import Outcome
from connaudit.saved import Sample
from connaudit.snapshot import Snapshot
from connaudit.targets import Host, Target


def read(setup: Setup) -> list[Sample]:
    """Return the samples of --from: of all targets in the file, or of those that arguments name."""
    path = str(setup.settings["from"])
    try:
        samples = saved.from_text(_content(path))
    except UsageError as error:
        raise UsageError(f"--from: {path}: {error.message}") from None
    except OSError as error:
        raise UsageError(f"--from: cannot read {path}: {(error.strerror or 'unreadable').lower()}") from None
    except UnicodeDecodeError:
        raise UsageError(f"--from: {path} is no text") from None
    return _chosen(samples, setup)


def _content(path: str) -> str:
    if path == "-":
        return sys.stdin.buffer.read().decode()
    with open(path, encoding="utf-8") as file:
        return file.read()


def _chosen(samples: Sequence[Sample], setup: Setup) -> list[Sample]:
    settings = setup.settings
    if settings.is_given("tag"):
        raise UsageError("--tag: targets in a file have no tags; name them")
    words = [*setup.call.targets, *(settings["target"] if settings.is_given("target") else ())]
    names = dict.fromkeys(sample.target for sample in samples)
    for word in words:
        if not any(fits(name, word) for name in names):
            raise UsageError(f"--from: the file has no target {word!r}", hint=f"there are {', '.join(names)}")
    return [s for s in samples if not words or any(fits(s.target, word) for word in words)]


def fleet(setup: Setup, samples: Sequence[Sample], asked: Sequence[Diagnostic], today: dt.date) -> Fleet:
    """Return the targets of the samples with their plans: the configuration's word holds for those of its names."""
    configured = setup.configuration.targets
    targets = {sample.target: _target(sample) for sample in samples}
    plans = {name: plan_of(target, configured.get(name), setup, asked, today) for name, target in targets.items()}
    for sample in samples:
        plans[sample.target] = _capped(plans[sample.target], sample)
    return Fleet(tuple(targets.values()), plans, expiries(setup, today))


def _target(sample: Sample) -> Target:
    where = sample.address
    hosts = (Host(where.host, where.port),)
    return Target(sample.target, sample.engine, hosts, where.user, where.database, origin="file")


def _capped(plan: Plan, sample: Sample) -> Plan:
    """Return the plan with no more of statements to be shown than was kept of them."""
    asks = (replace(a, options=replace(a.options, sql=saved.least(a.options.sql, sample.sql))) for a in plan.asks)
    return replace(plan, asks=tuple(asks)) if isinstance(sample.taken, Snapshot) else plan


def judge(fleet: Fleet, samples: Iterable[Sample]) -> tuple[Outcome, ...]:
    """Return what the diagnostics say of the samples, in the order in which their targets first appear."""
    series: dict[str, list[Taken]] = {target.name: [] for target in fleet.targets}
    for sample in samples:
        series[sample.target].append(sample.taken)
    return tuple(
        outcome for target in fleet.targets for outcome in judged(target, series[target.name], fleet.plans[target.name])
    )


def write(samples: Iterable[Sample], path: str, public: Iterable[str]) -> None:
    """Put the samples in place of a file that is for its owner alone; OutputError if it cannot be done."""
    output.replace_file(output.scrubbed(saved.to_text(samples), public), path, private=True)
