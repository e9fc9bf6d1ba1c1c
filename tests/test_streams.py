"""What leaves the process: the right bytes on the right stream, in every locale, on every kind of stdout."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.cli import PROGRAM, audit, begin, connaudit, environment, finish, on_terminal
from tests.conftest import Start
from tests.servers import Client, Running

MARKUP = "[/] [red]x[/red] :smile: [link=file:///etc]a[/link]"
NASTY = f"select pg_sleep(60), 'é 表 😀', '{MARKUP}', '\x1b[31m\u202e'"
BOX = set("│─┌┐└┘├┤┬┴┼━┃┏┓┗┛╭╮╰╯")


@pytest.fixture
def nasty(postgres: Running) -> Iterator[Client]:
    """A session that runs a statement full of what terminals and locales choke on."""
    with postgres.session(postgres.app) as client:
        client.start(NASTY)
        yield client
        postgres.terminate(client.id)


def longest(*words: str) -> list[str]:
    return ["long-queries", "--min-age", "0s", "--sql", "raw", *words]


def env(server: Running) -> dict[str, str | None]:
    return {"DATABASE_URL": server.url()}


def test_what_several_checks_could_not_see_is_said_once(mysql: Running) -> None:
    with mysql.session():
        result = audit("check", mysql, role=mysql.plain)
    assert result.status == 3
    lines = result.err.splitlines()
    assert "GRANT PROCESS" in result.err
    assert len(lines) == len(set(lines))


def test_a_healthy_server_is_said_on_stdout_and_nothing_on_stderr(postgres: Running) -> None:
    result = connaudit("count", env=env(postgres))
    assert (result.status, result.err) == (0, "")
    assert "OK" in result.out


def test_a_broken_threshold_is_the_exit_status(postgres: Running) -> None:
    warned = connaudit("count", "-w", "used=1000:", "-c", "used=~:1000", env=env(postgres))
    assert (warned.status, warned.err) == (1, "")
    assert "WARNING" in warned.out
    assert connaudit("count", "-c", "used=1000:", env=env(postgres)).status == 2
    assert connaudit("count", "-w", "used=1000:", "--fail-on", "critical", env=env(postgres)).status == 0
    assert connaudit("count", "-c", "used=1000:", "--exit-zero", env=env(postgres)).status == 0


@pytest.mark.usefixtures("nasty")
def test_in_the_c_locale_every_byte_is_printable_ascii(postgres: Running) -> None:
    where: dict[str, str | None] = {"LC_ALL": "C", "PATH": "/usr/bin:/bin", "HOME": "/root", **env(postgres)}
    result = connaudit(*longest(), env=where, bare=True)
    assert result.status == 0, result
    assert set(result.out) <= {chr(code) for code in range(0x20, 0x7F)} | {"\n"}
    assert r"\u8868" in result.out


@pytest.mark.usefixtures("nasty")
def test_text_that_looks_like_markup_is_shown_as_it_is_and_controls_are_escaped(postgres: Running) -> None:
    for result in (connaudit(*longest(), env=env(postgres)), on_terminal(*longest(), columns=400, env=env(postgres))):
        assert MARKUP in result.out
        assert "\x1b[31m" not in result.out.replace("\x1b[31mCRITICAL", "")
        assert "\u202e" not in result.out


@pytest.mark.usefixtures("nasty")
def test_json_has_every_text_exactly(postgres: Running) -> None:
    result = connaudit(*longest("--json"), env=env(postgres))
    texts = [row["sql"] for row in result.json["targets"][0]["rows"]]
    assert NASTY in texts
    assert result.out.isascii()


@pytest.mark.usefixtures("nasty")
@pytest.mark.parametrize(
    "locale",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"},
        {"LC_ALL": "C.UTF-8"},
    ],
)
def test_no_locale_makes_it_fall_over(postgres: Running, locale: dict[str, str]) -> None:
    result = on_terminal(*longest(), env={**env(postgres), **locale})
    assert result.status == 0, result
    assert "Traceback" not in result.out + result.err


@pytest.mark.usefixtures("nasty")
def test_off_a_terminal_there_is_one_uncut_ascii_line_a_record(postgres: Running) -> None:
    name = "x" * 63
    statement = "select pg_sleep(60), '" + "y" * 300 + "'"
    with postgres.session(postgres.app, f"set application_name = '{name}'") as client:
        client.start(statement)
        result = connaudit(*longest("--app", name), env=env(postgres))
        postgres.terminate(client.id)
    (line,) = [line for line in result.out.splitlines() if name in line]
    assert statement in line
    assert not BOX & set(result.out)


@pytest.mark.parametrize(
    ("words", "variables"),
    [
        ([], {"NO_COLOR": "1"}),
        ([], {"TERM": "dumb"}),
        (["--color", "never"], {"FORCE_COLOR": "1"}),
        (["--no-color"], {}),
        (["--json"], {"FORCE_COLOR": "1"}),
        (["-f", "nagios"], {"FORCE_COLOR": "1"}),
    ],
)
def test_who_wants_no_colour_gets_none(postgres: Running, words: list[str], variables: dict[str, str]) -> None:
    assert "\x1b" not in on_terminal("count", *words, env={**env(postgres), **variables}).out


@pytest.mark.parametrize("form", ["table", "csv", "markdown", "nagios"])
def test_what_is_only_visible_in_part_is_not_told_as_the_whole(server: Running, form: str) -> None:
    with server.session(server.app, "select 1"):
        result = connaudit("check", "-f", form, env={"DATABASE_URL": server.url(server.plain)})
    assert (result.status, result.err.count("\n")) == (3, 0 if form == "nagios" else 1), result  # once, not by check
    assert result.out.count("0 sessions") == result.out.count("visible: 0 sessions") > 0, result.out
    assert "GRANT" in result.out + result.err


def test_a_terminal_is_coloured_and_a_pipe_is_not(postgres: Running) -> None:
    assert "\x1b" in on_terminal("count", env=env(postgres)).out
    assert "\x1b" not in connaudit("count", env=env(postgres)).out
    assert "\x1b" in connaudit("count", "--color", "always", env=env(postgres)).out


@pytest.mark.usefixtures("nasty")
@pytest.mark.parametrize("columns", [10, 15, 25, 40, 80, 120])
def test_no_terminal_is_too_narrow(postgres: Running, columns: int) -> None:
    result = on_terminal("long-queries", "--min-age", "0s", "--no-color", columns=columns, env=env(postgres))
    assert result.status == 0
    assert max(map(len, result.out.splitlines())) <= columns
    pid = [line for line in result.out.splitlines() if "pid" in line.lower()]
    assert pid, result.out


@pytest.mark.parametrize("told", ["", "0", "-5", "wide", "\u00b2", "99999"])
def test_a_terminal_that_does_not_know_its_width_is_taken_at_what_it_says_or_at_80(
    postgres: Running, told: str
) -> None:
    result = on_terminal("count", "--no-color", columns=0, rows=0, env={**env(postgres), "COLUMNS": told})
    assert (result.status, result.err) == (0, "")
    assert "usable connections" in result.out


def test_a_full_disk_is_said_in_one_line(postgres: Running) -> None:
    with open("/dev/full", "wb") as full:
        result = finish(begin("count", env=env(postgres), out=full.fileno()))
    assert result.status == 3
    assert result.err == "connaudit: cannot write output: No space left on device [output]\n"


HELPS = [
    ["--help"],
    ["--version"],
    ["count", "-h"],
    ["leaks", "-h"],
    ["history", "-h"],
    ["watch", "-h"],
    ["watch", "count", "-h"],
]


@pytest.mark.parametrize("words", HELPS)
def test_help_that_cannot_be_written_is_said_in_one_line_as_well(words: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        result = finish(begin(*words, out=full.fileno()))
    assert (result.status, result.err) == (3, "connaudit: cannot write output: No space left on device [output]\n")


@pytest.mark.parametrize("words", HELPS)
def test_help_whose_reader_has_gone_is_no_warning(words: list[str]) -> None:
    gone, out = os.pipe()
    os.close(gone)
    result = finish(begin(*words, out=out))
    os.close(out)
    assert (result.status, result.err) == (0, "")


def test_a_closed_stdout_is_said_in_one_line(postgres: Running) -> None:
    shell = subprocess.run(
        ["/bin/sh", "-c", f"{PROGRAM} count >&-"], env=environment(env(postgres)), stderr=subprocess.PIPE, check=False
    )
    assert (shell.returncode, shell.stderr.count(b"\n")) == (3, 1)
    assert b"cannot write output" in shell.stderr


def test_a_reader_that_has_seen_enough_changes_no_verdict(postgres: Running) -> None:
    ours, theirs = os.pipe()
    process = begin("count", "-w", "used=1000:", env=env(postgres), out=theirs)
    os.close(theirs)
    os.close(ours)
    result = finish(process)
    assert (result.status, result.err) == (1, "")


def test_quiet_says_not_a_byte_when_all_is_well_and_everything_when_not(postgres: Running) -> None:
    quiet = connaudit("count", "-q", env=env(postgres))
    assert (quiet.status, quiet.out, quiet.err) == (0, "", "")
    loud = connaudit("count", "-q", "-w", "used=1000:", env=env(postgres))
    assert (loud.status, "WARNING" in loud.out) == (1, True)


def test_a_password_on_the_command_line_is_warned_of_once_unless_quiet(postgres: Running) -> None:
    result = connaudit("count", postgres.url())
    assert (result.status, result.err.count("\n")) == (0, 1)
    assert "visible to everybody in ps" in result.err
    assert postgres.monitor.password not in result.out + result.err
    assert connaudit("count", "-q", postgres.url()).err == ""


def test_a_report_replaces_a_file_at_once_and_is_readable_as_the_umask_says(postgres: Running, tmp_path: Path) -> None:
    place = tmp_path / "report.prom"
    place.write_text("old")
    place.chmod(0o600)
    result = connaudit("count", "-f", "prometheus", "-o", str(place), env=env(postgres))
    assert (result.status, result.out, result.err) == (0, "", "")
    assert place.read_text().startswith("# HELP")
    assert place.stat().st_mode & 0o777 == 0o666 & ~_umask()
    assert [path.name for path in tmp_path.iterdir()] == ["report.prom"]


def test_a_file_is_written_when_all_is_well_as_well(postgres: Running, tmp_path: Path) -> None:
    place = tmp_path / "report.txt"
    place.write_text("CRITICAL since yesterday")
    result = connaudit("count", "-q", "-o", str(place), env=env(postgres))
    assert (result.status, result.out, result.err) == (0, "", "")
    assert "OK" in place.read_text()
    assert connaudit("count", "-q", "-o", "/dev/stdout", env=env(postgres)).out == ""


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_report_may_go_to_a_device(postgres: Running) -> None:
    assert "OK" in connaudit("count", "-o", "/dev/stdout", env=env(postgres)).out


def test_several_targets_keep_their_order_and_the_gravest_verdict_wins(postgres: Running) -> None:
    dead = "postgresql://monitor@127.0.0.1:1/shop"
    result = connaudit("count", dead, "env:DATABASE_URL", dead, "--json", env=env(postgres))
    assert [target["status"] for target in result.json["targets"]] == ["unknown", "ok", "unknown"]
    assert (result.status, result.err.count("\n")) == (3, 2)
    worse = connaudit("count", dead, "env:DATABASE_URL", "-w", "used=1000:", env=env(postgres))
    assert worse.status == 1


def test_a_full_server_is_a_finding_and_no_failure(postgres: Running, start: Start) -> None:
    full = start(postgres, max_connections=6, superuser_reserved_connections=1)
    sessions = [full.connect(full.app) for _ in range(5)]
    result = connaudit("count", "--json", env=env(full))
    for session in sessions:
        session.close()
    (target,) = result.json["targets"]
    assert (result.status, result.err, target["status"]) == (2, "", "critical")
    assert target["error"]["kind"] == "too_many_connections"
    assert [finding["code"] for finding in target["findings"]] == ["CA102"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_at_once_and_by_the_signal(number: signal.Signals) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        process = begin("count", f"postgresql://u@127.0.0.1:{deaf.getsockname()[1]}/d?sslmode=disable")
        connection, _ = deaf.accept()
        began = time.monotonic()
        process.send_signal(number)
        result = finish(process)
        connection.close()
    assert result.status == -number
    assert time.monotonic() - began < 5
    assert result.err == f"connaudit: interrupted by {number.name}\n"


def test_a_signal_is_what_ended_it_even_if_cleaning_up_after_it_fails() -> None:
    program = (
        "import os, signal\n"
        "from connaudit.cli import auditing, main\n"
        "def stumble(*_):\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "    finally:\n"
        "        {}['no such key']\n"
        "auditing.audit = stumble\n"
        "main.main(['count', 'postgresql://u@h/d'])\n"
    )
    words = [sys.executable, "-c", program]
    done = subprocess.run(words, capture_output=True, text=True, env=environment(), check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGTERM, "connaudit: interrupted by SIGTERM\n")


def test_a_shell_loop_stops_at_ctrl_c() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"postgresql://u@127.0.0.1:{deaf.getsockname()[1]}/d?sslmode=disable"
        loop = f"for i in 1 2 3; do {PROGRAM} count '{url}'; done; echo went on"
        process = subprocess.Popen(
            ["/bin/bash", "-c", loop],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env=environment(),
        )
        connection, _ = deaf.accept()
        os.killpg(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=20)
        connection.close()
    assert b"went on" not in out


def test_nohup_is_respected() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"postgresql://u@127.0.0.1:{deaf.getsockname()[1]}/d?sslmode=disable"
        process = subprocess.Popen(
            ["/usr/bin/nohup", PROGRAM, "count", "-t", "2s", url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
        )
        connection, _ = deaf.accept()
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=20)
        connection.close()
    assert process.returncode == 3


@pytest.mark.parametrize("password", ["s3cr3t-%", "hunter", "123456"])
def test_a_password_is_cut_out_of_what_others_put_a_url_into(postgres: Running, password: str) -> None:
    name = f"for postgresql://app:{password}@db/shop"
    nowhere = f"postgresql://u:{quote(password, safe='')}@127.0.0.1:1/d"  # whose password it is
    with postgres.session(postgres.app, application_name=name):
        result = connaudit("count", "env:DATABASE_URL", "env:OTHER", "-v", env={**env(postgres), "OTHER": nowhere})
    assert "for postgresql://app:***@db/shop" in result.out
    assert password not in result.out + result.err
