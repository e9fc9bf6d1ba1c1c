"""Mistakes that auditors are known for, made in a copy of the package: the scenes must notice each of them.

python -m tests.mutants       exit status 1 if a mistake went unnoticed, or cannot be made any more
"""
# ruff: noqa: T201 - a program that talks to whoever runs it

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).parents[1]
COPIED = ("connaudit", "tests", "pyproject.toml", "README.md")
PATIENCE = ("PATIENCE = 15.0", "PATIENCE = 3.0")  # what is never seen need not be waited for as long as what is late


@dataclass(frozen=True, slots=True)
class Mutant:
    """One mistake: what stands in a file, what is put in its place, and the scene that must fail then."""

    mistake: str
    file: str
    before: str
    after: str
    scene: str


MUTANTS = (
    Mutant(
        "aborted transactions are forgotten",
        "snapshot.py",
        "return self.state in (State.IDLE_IN_TRANSACTION, State.ABORTED)",
        "return self.state is State.IDLE_IN_TRANSACTION",
        "an-aborted-transaction-postgres",
    ),
    Mutant(
        "a transaction is idle since it began",
        "engines/postgresql/sessions.py",
        "state_age=age(row.state_age)",
        "state_age=age(row.transaction_age)",
        "a-transaction-older-than-its-idleness-postgres",
    ),
    Mutant(
        "walsenders are clients",
        "engines/postgresql/sessions.py",
        'b"walsender": Kind.REPLICATION',
        'b"walsender": Kind.CLIENT',
        "a-standby-that-streams-postgres",
    ),
    Mutant(
        "parallel workers are clients",
        "engines/postgresql/sessions.py",
        'b"parallel worker": Kind.PARALLEL',
        'b"parallel worker": Kind.CLIENT',
        "parallel-workers-are",
    ),
    Mutant(
        "what is hidden from a role is not missed",
        "engines/postgresql/gaps.py",
        "hidden = sum(row.is_hidden for row in clients)",
        "hidden = 0",
        "every-state-hidden-from-a-role",
    ),
    Mutant(
        "who waits for its client is slow",
        "engines/postgresql/sessions.py",
        'row.wait_event_type == b"Client"',
        'row.wait_event_type == b"Nobody"',
        "a-copy-that-waits-for-its-client-postgres",
    ),
    Mutant(
        "who has no PROCESS sees all there is",
        "engines/mysql/gaps.py",
        "    if blind:\n",
        "    if blind and not blind:\n",
        "every-state-hidden-from-an-account",
    ),
    Mutant(
        "a thread that sleeps is idle",
        "engines/mysql/sessions.py",
        "return State.IDLE_IN_TRANSACTION if open_one else State.IDLE",
        "return State.IDLE",
        "a-writer-idle-in-transaction-mariadb",
    ),
    Mutant(
        "InnoDB's times are in the session's time zone",
        "engines/mysql/statements.py",
        "convert_tz(trx_started, 'SYSTEM', '+00:00'), utc_timestamp()) as age",
        "trx_started, now()) as age",
        "a-server-west-of-its-sessions-mariadb",
    ),
    Mutant(
        "an event is a connection",
        "engines/mysql/sessions.py",
        "return Kind.JOB if",
        "return Kind.CLIENT if",
        "a-scheduled-event-is-a-statement-and-no-connection-mariadb",
    ),
)


def main() -> int:
    """Let all mistakes be made, a few at once, and return the exit status."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="connaudit-mutants-") as place, ThreadPoolExecutor(os.cpu_count()) as pool:
        sound = copy(Path(place) / "sound")
        unproven = failures(sound, " or ".join(mutant.scene for mutant in MUTANTS))
        if unproven != 0:
            print(f"the scenes do not pass on the package as it is: {unproven} failed")
            return 1
        noticed = list(pool.map(lambda one: is_noticed(one, Path(place)), MUTANTS))
    for mutant, was_noticed in zip(MUTANTS, noticed, strict=True):
        print(f"{'noticed  ' if was_noticed else 'UNNOTICED'}  {mutant.mistake}")
    print(f"{sum(noticed)} of {len(MUTANTS)} mistakes noticed in {time.monotonic() - began:.0f} s")
    return 0 if all(noticed) else 1


def copy(place: Path) -> Path:
    """Return a copy of all that the scenes need."""
    place.mkdir()
    for name in COPIED:
        source = TOP / name
        if source.is_dir():
            shutil.copytree(source, place / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, place / name)
    change(place / "tests" / "test_scenes.py", *PATIENCE)
    return place


def change(file: Path, before: str, after: str) -> None:
    """Put something in place of what stands in a file once."""
    text = file.read_text(encoding="utf-8")
    if text.count(before) != 1:
        sys.exit(f"{file.name} has {before!r} {text.count(before)} times: tell tests/mutants.py where it went")
    file.write_text(text.replace(before, after), encoding="utf-8")


def is_noticed(mutant: Mutant, place: Path) -> bool:
    """Return whether a scene fails on a package with the mistake."""
    mutated = copy(place / re.sub(r"\W+", "-", mutant.mistake))
    change(mutated / "connaudit" / mutant.file, mutant.before, mutant.after)
    return bool(failures(mutated, mutant.scene))


def failures(place: Path, scenes: str) -> int | None:
    """Return how many scenes failed in a copy; None if they could not even be played."""
    words = [sys.executable, "-m", "pytest", "tests/test_scenes.py", "-q", "-k", scenes, "-p", "no:cacheprovider"]
    done = subprocess.run(words, cwd=place, capture_output=True, text=True, check=False)
    found = re.findall(r"(\d+) (passed|failed|error)", done.stdout)
    told: dict[str, int] = {word: int(number) for number, word in found}
    if done.returncode not in (0, 1) or "error" in told or not told:
        print(done.stdout, done.stderr)
        return None
    return told.get("failed", 0)


if __name__ == "__main__":
    sys.exit(main())
