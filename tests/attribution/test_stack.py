"""From a session to file and line: by py-spy on real processes, and by programs that misbehave in its place."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from connaudit.attribution import Confidence, stack
from connaudit.attribution.django import Ident, Named, ident
from connaudit.attribution.evidence import Frame, Thread
from connaudit.attribution.process import client_of
from connaudit.attribution.stack import NoStack, dump, picked, stack_of
from connaudit.snapshot import Process
from tests.attribution.conftest import Hold, seen, session_of
from tests.servers import Running

OWN, LIBRARY = "/srv/shop/views.py", "/venv/lib/python3.12/site-packages/{}/x.py"


@pytest.fixture(autouse=True)
def py_spy_is_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


def thread(*frames: Frame, ident: int = 1, process: int = 7) -> Thread:
    return Thread(process, ident, f"job-{ident}", frames)


def frame(file: str, function: str = "run", line: int = 1) -> Frame:
    return Frame(function, file, line)


def test_the_thread_that_sql_names_is_found_with_its_line(postgres: Running, hold: Hold) -> None:
    holder = hold(postgres, "atomic")
    taken = seen(postgres)
    second = session_of(taken, holder.ids[1])
    named = ident(second.query)
    assert named == Ident(holder.told["idents"][1], Named.SAVEPOINT)
    found = stack_of(client_of(second, taken.address).processes, named, busy=False)
    assert found.confidence is Confidence.THREAD
    (only,) = found.threads
    assert (only.process, only.ident, only.name) == (holder.pid, named.thread, "job-1")
    innermost = next(each for each in only.frames if each.is_own)
    assert innermost.function.endswith("call_payment_service")
    assert innermost.file.endswith("holder.py")


def test_without_a_number_two_threads_in_code_of_their_own_are_two_candidates(postgres: Running, hold: Hold) -> None:
    holder = hold(postgres, "atomic")
    found = stack_of((Process(holder.pid, "python"),), None, busy=False)
    assert found.confidence is None
    assert {each.name for each in found.threads} == {"job-0", "job-1", "MainThread"}


def test_a_thread_that_has_ended_is_told_from_one_that_was_not_found() -> None:
    found = picked([thread(frame(OWN))], Ident(99, Named.SAVEPOINT), busy=False)
    assert found.threads == ()
    assert "has ended" in (found.why_not or "")


def test_of_forked_workers_with_threads_of_one_number_it_is_one_of_them() -> None:
    both = [thread(frame(OWN), process=7), thread(frame(OWN), process=8)]
    found = picked(both, Ident(1, Named.SAVEPOINT), busy=False)
    assert (found.confidence, len(found.threads)) == (None, 2)


@pytest.mark.parametrize(
    ("inner", "idle", "busy"),
    [
        ((), True, False),
        ((frame(LIBRARY.format("requests")),), True, False),
        ((frame("/usr/lib/python3.12/ssl.py", "SSLSocket.read"),), True, False),
        ((frame(LIBRARY.format("psycopg"), "wait"),), False, True),
        ((frame("/usr/lib/python3.12/threading.py", "Condition.wait"),), False, False),
        ((frame("/usr/lib/python3.12/queue.py", "Queue.get"),), False, False),
        ((frame("/usr/lib/python3.12/selectors.py"), frame("/usr/lib/python3.12/a.py", "serve_forever")), False, False),
    ],
)
def test_only_threads_that_may_hold_the_session_are_candidates(
    inner: tuple[Frame, ...], idle: bool, busy: bool
) -> None:
    one = thread(*inner, frame(OWN))
    for is_busy, expected in ((False, idle), (True, busy)):
        found = picked([one], None, busy=is_busy)
        assert (found.confidence is Confidence.ONLY_THREAD) is expected
        assert bool(found.threads) is expected


@pytest.mark.parametrize(
    "file", ["/usr/lib/python3.12/threading.py", LIBRARY.format("django"), "<frozen runpy>", "/venv/bin/gunicorn"]
)
def test_code_of_others_is_no_candidate(file: str) -> None:
    assert picked([thread(frame(file))], None, busy=False).threads == ()


def test_a_process_that_is_no_python_is_named_in_one_line() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        with pytest.raises(NoStack, match=f"process {process.pid} is no Python program"):
            dump(process.pid)
        process.kill()


def test_a_process_that_has_ended_is_named_in_one_line() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    with pytest.raises(NoStack, match="has ended meanwhile"):
        dump(process.pid)


def test_where_py_spy_is_not_installed_that_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = stack_of((Process(os.getpid(), "python"),), None, busy=False)
    assert found.why_not == "py-spy is not installed here: pip install py-spy"


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("sleep 60", "did not answer"),
        ("echo '[{'", "does not understand"),
        ("echo '[{\"pid\": 1}]'", "does not understand"),
        ("echo 'Error: Permission Denied: Try again' >&2; exit 1", "run connaudit as root"),
        ("echo 'Error: out of luck' >&2; echo 'Stack backtrace:' >&2; exit 1", "py-spy failed: out of luck"),
    ],
)
def test_whatever_py_spy_does_one_line_is_said(
    program: str, why: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = tmp_path / "py-spy"
    fake.write_text(f"#!/bin/sh\n{program.replace('sleep', 'exec /bin/sleep')}\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(stack, "PATIENCE", 0.3)
    with pytest.raises(NoStack) as refused:
        dump(os.getpid())
    assert why in str(refused.value)
    assert "\n" not in str(refused.value)


def test_our_own_threads_are_dumped_with_python_numbers() -> None:
    assert threading.get_ident() in {each.ident for each in dump(os.getpid())}
