"""`connaudit leaks --around -- COMMAND`: run a command, and say what it leaves behind."""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from connaudit.audit import judged
from connaudit.cli import output
from connaudit.cli.auditing import Audited, Begun, conclude, sample, style_of
from connaudit.cli.planning import Fleet, Invocation, Setup, muster, set_up
from connaudit.cli.sampling import Sampler, Series, Told, following
from connaudit.cli.signals import Interrupted
from connaudit.diagnostics import diagnostic
from connaudit.engines import Taken
from connaudit.errors import TargetError, UsageError
from connaudit.report import Outcome, Report
from connaudit.saved import Sample

GRACE = 5.0  # seconds that sessions of a process that has ended are given to go away
QUICKEST, SLOWEST = 0.1, 1.0  # seconds between two looks: the more often the shorter the command runs
SHARE = 50  # of its time so far
GLANCE = 0.05  # seconds within which its end is noticed


def run_around(call: Invocation, command: Sequence[str]) -> int:
    """Run the command; return its status if it failed, else that of the verdict, which is told on standard error."""
    begun = Begun.now()
    setup = set_up(call)
    if setup.settings["from"]:
        raise UsageError("--around looks at servers, --from at none: give one of them")
    style = style_of(setup.settings, call.environment, sys.stderr)
    fleet = muster(setup, [diagnostic("around")], begun.moment.date())
    with following(setup, fleet) as connections:
        around = Around(setup, fleet, Sampler(setup, fleet, connections))
        around.before()
        status = around.during(command)
        around.after()
    audited = Audited(fleet, around.outcomes, around.samples)
    verdict = conclude(setup, audited, begun, style, output.write_aside)
    return status or verdict


class Around:
    """The looks at a fleet before, during and after a command."""

    def __init__(self, setup: Setup, fleet: Fleet, sampler: Sampler) -> None:
        self._setup = setup
        self._fleet = fleet
        self._sampler = sampler
        self._first: list[Taken] = []
        self._last: list[Taken] = []
        self._between = [Series() for _ in fleet.targets]
        self._kept: list[Sequence[Taken]] = [() for _ in fleet.targets]
        self.samples: list[Sample] = []

    def before(self) -> None:
        """Look at all targets, once."""
        self._first = self._look()

    def _look(self) -> list[Taken]:
        """Return what all targets tell now."""
        told: dict[int, Taken] = {}
        self._sampler.drop()
        batch = self._sampler.begin()
        while True:
            told |= {each.index: self._kept_as_sample(each) for each in batch}
            if len(told) == len(self._fleet.targets):
                return [told[index] for index in range(len(told))]
            batch = self._sampler.ended(time.monotonic() + SLOWEST)

    def _kept_as_sample(self, told: Told) -> Taken:
        self.samples.append(sample(self._fleet.targets[told.index], told.taken, self._setup.settings["sql"]))
        return told.taken

    def during(self, command: Sequence[str]) -> int:
        """Run the command to its end, and return its status as a shell would; its streams are ours."""
        try:
            process = subprocess.Popen(command)
        except OSError as error:
            raise UsageError(f"--around: cannot run {command[0]}: {(error.strerror or str(error)).lower()}") from None
        try:
            self._watch(process)
        except BaseException as reason:
            _pass_on(reason, process)
            process.wait()
            raise
        status = process.returncode
        return status if status >= 0 else 128 - status

    def _watch(self, process: "subprocess.Popen[Any]") -> None:
        """Look until it has ended; what was told after that is not of its time."""
        began = due = time.monotonic()
        while process.poll() is None:
            now = time.monotonic()
            batch = self._sampler.begin() if now >= due else []
            if now >= due:
                due = now + min(SLOWEST, max(QUICKEST, (now - began) / SHARE))
            batch += self._sampler.ended(now + GLANCE)
            if process.poll() is None:
                for each in batch:
                    self._kept[each.index] = self._between[each.index].add(self._kept_as_sample(each))
            if not self._sampler.is_busy:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, min(due - time.monotonic(), GLANCE)))

    def after(self) -> None:
        """Look at all targets until nothing is left behind, or the grace is over."""
        end = time.monotonic() + GRACE
        self._last = self._look()
        while any(map(_leaves, self.outcomes)) and time.monotonic() < end:
            time.sleep(QUICKEST)
            self._last = self._look()

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """Return what is to be said of all targets: without a look before and one after there is nothing."""
        found: list[Outcome] = []
        for index, target in enumerate(self._fleet.targets):
            first, last = self._first[index], self._last[index]
            blind = next((each for each in (first, last) if isinstance(each, TargetError)), None)
            series = (first, *self._kept[index], last) if blind is None else (blind,)
            found += judged(target, series, self._fleet.plans[target.name])
        return tuple(found)


def _leaves(outcome: Outcome) -> bool:
    return isinstance(outcome, Report) and bool(outcome.summary["left"])


def _pass_on(reason: BaseException, process: "subprocess.Popen[Any]") -> None:
    """Let the command have the signal that we got, unless the terminal has sent it to both."""
    if isinstance(reason, Interrupted):
        from_terminal = reason.number == signal.SIGINT and sys.stdin is not None and sys.stdin.isatty()
        if not from_terminal:
            process.send_signal(reason.number)
