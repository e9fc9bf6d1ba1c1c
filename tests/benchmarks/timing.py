"""Whole processes, timed in turn: A B C A B C. Ratios are taken within a round, so that a machine whose speed drifts
spoils none of them.

The processes are started by a small one (this file as a program): the kernel counts the memory of whoever starts a
process to the process itself.
"""

import marshal
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence

Usage = tuple[float, float, float]  # seconds that passed, seconds of processor, peak MiB


class Failed(Exception):
    """A command that was to be timed did not do what it should."""


class Command:
    """What is started: words, and what its environment holds beside PATH."""

    def __init__(self, *words: str, expected: Iterable[int] = (0,), **environment: str) -> None:
        self.words = words
        self.expected = tuple(expected)
        self.environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LANG": "C.UTF-8", **environment}

    def run(self) -> str:
        """Run it once and return what it writes; Failed if it ends with another status than it should."""
        done = subprocess.run(self.words, env=self.environment, capture_output=True, text=True, check=False)
        if done.returncode not in self.expected:
            raise Failed(f"{' '.join(self.words)[:200]} ended with {done.returncode}: {done.stderr[-500:]}")
        return done.stdout + done.stderr


class Timing:
    """What each command took in each round."""

    def __init__(self, rounds: Mapping[str, Sequence[Usage]]) -> None:
        self._rounds = rounds

    def __contains__(self, name: str) -> bool:
        return name in self._rounds

    def ratio(self, name: str, base: str) -> float:
        """Return how much longer one takes than another."""
        pairs = zip(self._rounds[name], self._rounds[base], strict=True)
        return median([mine[0] / theirs[0] for mine, theirs in pairs])

    def wall(self, name: str) -> float:
        """Return the seconds that pass."""
        return median([usage[0] for usage in self._rounds[name]])

    def cpu(self, name: str) -> float:
        """Return the seconds of processor."""
        return median([usage[1] for usage in self._rounds[name]])

    def peak(self, name: str) -> float:
        """Return the most memory, in MiB."""
        return max(usage[2] for usage in self._rounds[name])

    def beside(self, base: str, *names: str) -> str:
        """Return the peers with their times and ratios, in words."""
        there = [name for name in names if name in self]
        return ", ".join(
            [f"{base} {milliseconds(self.wall(base))}"]
            + [f"{name} {milliseconds(self.wall(name))} ({self.ratio(name, base):.1f}x)" for name in there]
        )


def median(values: Sequence[float]) -> float:
    """Return the middle one; this file must not import what a lean process need not hold."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def milliseconds(seconds: float) -> str:
    """Return a time as people read it: 48 ms, 1.2 s."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def in_turn(commands: Mapping[str, Command], rounds: int = 15) -> Timing:
    """Time each command once in each round, after one run of each that does not count and says why it fails."""
    for command in commands.values():
        command.run()
    jobs = [(list(each.words), each.environment, each.expected) for each in commands.values()]
    done = subprocess.run(
        [sys.executable, "-I", "-S", __file__],
        input=marshal.dumps((rounds, jobs)),
        stdout=subprocess.PIPE,
        check=True,
    )
    measured = marshal.loads(done.stdout)
    for command, (statuses, _) in zip(commands.values(), measured, strict=True):
        if set(statuses) - set(command.expected):
            raise Failed(f"{' '.join(command.words)[:200]} ended with {statuses}")
    return Timing({name: usages for name, (_, usages) in zip(commands, measured, strict=True)})


def _once(words: list[str], environment: dict[str, str], null: int) -> tuple[int, Usage]:
    streams = [(os.POSIX_SPAWN_DUP2, null, number) for number in range(3)]
    began = time.perf_counter()
    process = os.posix_spawnp(words[0], words, environment, file_actions=streams)
    _, status, used = os.wait4(process, 0)
    passed = time.perf_counter() - began
    return os.waitstatus_to_exitcode(status), (passed, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def _serve() -> None:
    rounds, jobs = marshal.load(sys.stdin.buffer)
    null = os.open(os.devnull, os.O_RDWR)
    found: list[tuple[list[int], list[Usage]]] = [([], []) for _ in jobs]
    for _ in range(rounds):
        for (words, environment, _), (statuses, usages) in zip(jobs, found, strict=True):
            status, usage = _once(words, environment, null)
            statuses.append(status)
            usages.append(usage)
    sys.stdout.buffer.write(marshal.dumps(found))


if __name__ == "__main__":
    _serve()
