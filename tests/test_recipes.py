"""The recipes of `connaudit help cron`, each run as far as it can be without the system that it is for."""

import json
import os
import re
import shutil
import signal
import stat
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from connaudit.cli import recipes
from tests.cli import PROGRAM, connaudit
from tests.servers import Running
from tests.servers.client import Client

DEAD = "postgresql://monitor@127.0.0.1:1/shop"
PERFDATA = r"'[^'=]+'=-?[0-9.]+(?:s|%|B|c)?(?:;[-0-9.:~@]*){0,4}"


@dataclass(frozen=True, slots=True)
class Host:
    """A machine as far as recipes care: a home with a configuration, and directories to write to."""

    home: Path

    def here(self, recipe: str) -> str:
        """Return a recipe with its paths on this machine."""
        paths = {
            "/opt/connaudit/bin/connaudit": str(PROGRAM),
            "/etc/connaudit/config.toml": str(self.config),
            "/var/lib/connaudit": str(self.home),
            "/var/lib/node_exporter": str(self.home),
        }
        for theirs, ours in paths.items():
            recipe = recipe.replace(theirs, ours)
        return recipe

    @property
    def config(self) -> Path:
        return self.home / ".config" / "connaudit" / "config.toml"

    def run(self, command: str, shell: str = "/bin/sh", **more: str) -> "Done":
        """Run a command as cron does: hardly any environment, no terminal, the home as its place."""
        state = {"XDG_STATE_HOME": str(self.home / "state")}  # as root it would be that of the machine
        env = {"SHELL": "/bin/sh", "HOME": str(self.home), "LOGNAME": "dba", "PATH": "/usr/bin:/bin", **state, **more}
        done = subprocess.run(
            [shell, "-c", command], cwd=self.home, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def history(self) -> list[bytes]:
        """Return what is stored of the target, a sample each."""
        exported = self.run(f"{PROGRAM} history export").out.splitlines()
        return [line for line in exported if json.loads(line)["kind"] == "target"]


@dataclass(frozen=True, slots=True)
class Done:
    status: int
    out: bytes
    err: bytes


@pytest.fixture
def host(tmp_path: Path, server: Running) -> Host:
    """A host that audits one healthy server, whose password lies in a file."""
    host = Host(tmp_path)
    url = server.url().replace(f":{server.monitor.password}@", "@")
    password = tmp_path / "prod-eu.pw"
    password.write_text(server.monitor.password + "\n")
    password.chmod(0o600)
    host.config.parent.mkdir(parents=True)
    host.config.write_text(f'[targets.prod-eu]\ndsn = "{url}"\npassword_file = "{password}"\n')
    return host


def crontab(recipe: str) -> str:
    """Return the command of a crontab's one entry, as cron reads it: up to the first percent sign."""
    (line,) = (line for line in recipe.splitlines() if not re.match(r"#|[A-Z]+=", line))
    schedule, command = line.split(None, 5)[:5], line.split(None, 5)[5]
    assert all(re.fullmatch(r"[-*/,\d]+", field) for field in schedule)
    return re.split(r"(?<!\\)%", command)[0]


@contextmanager
def held_open(server: Running) -> Iterator[Client]:
    """Keep a session idle in transaction, for longer than a threshold of no time allows."""
    with server.session(server.app, "create table if not exists recipes (id int)", "begin") as client:
        client.do("insert into recipes values (1)")
        yield client


def sick(host: Host) -> None:
    """Let the configuration call a server sick on which anybody is idle in transaction."""
    with host.config.open("a") as config:
        config.write('[thresholds]\nidle-tx = { warning = "count=0", critical = "count=0" }\n')


LIST_ALL = {"CONNAUDIT_IDLE_TX_MIN_AGE": "0s"}


def test_no_command_line_for_cron_has_a_percent_sign() -> None:
    for recipe in (recipes.CRON, recipes.HEARTBEAT, recipes.RECORD, recipes.TEXTFILE):
        assert "%" not in "".join(line for line in recipe.splitlines() if not line.startswith("#"))


def test_cron_hears_nothing_of_a_healthy_server(host: Host) -> None:
    assert host.run(crontab(host.here(recipes.CRON))) == Done(0, b"", b"")


def test_cron_hears_all_of_a_sick_server_in_ascii(host: Host, server: Running) -> None:
    sick(host)
    with held_open(server):
        done = host.run(crontab(host.here(recipes.CRON)), **LIST_ALL)
        later = host.run(crontab(host.here(recipes.CRON)), **LIST_ALL)
    assert (done.status, done.err) == (2, b"")
    assert b"CRITICAL" in done.out
    assert done.out.isascii()
    assert b"\x1b" not in done.out
    assert later == Done(2, b"", b"")  # it has been said


def test_cron_hears_of_a_target_out_of_reach(host: Host) -> None:
    host.config.write_text('[targets.prod-eu]\ndsn = "postgresql://m@127.0.0.1:1/d"\n')
    done = host.run(crontab(host.here(recipes.CRON)))
    assert done.status == 3
    assert b"UNKNOWN" in done.out
    assert b"[refused]" in done.err


def test_cron_keeps_a_history_and_hears_nothing_of_it(host: Host) -> None:
    for _ in range(2):
        assert host.run(crontab(host.here(recipes.RECORD))) == Done(0, b"", b"")
    assert len(host.history()) == 2


def test_a_percentage_reaches_us_through_a_crontab_as_pct_only(host: Host) -> None:
    line = f"*/5 * * * *  {PROGRAM} count -w 80%s -c 90%s prod-eu"
    assert host.run(crontab(line.replace("%s", "pct"))).status == 0
    cut = crontab(line.replace("%s", "%"))
    assert cut.endswith("-w 80")
    assert "-c" not in cut


@pytest.mark.parametrize("is_sick", [False, True], ids=["healthy", "sick"])
def test_a_heartbeat_carries_report_and_exit_status(host: Host, server: Running, is_sick: bool) -> None:
    tools = host.home / "tools"
    tools.mkdir()
    curl = tools / "curl"  # in the place of a network
    curl.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {host.home}/sent\n')
    curl.chmod(0o755)
    if is_sick:
        sick(host)
    with held_open(server):
        done = host.run(crontab(host.here(recipes.HEARTBEAT)), PATH=f"{tools}:/usr/bin:/bin", **LIST_ALL)
    assert done == Done(0, b"", b"")
    sent = (host.home / "sent").read_text().splitlines()
    assert sent[-1] == f"https://hc.example.net/ping/UUID/{2 if is_sick else 0}"
    (body,) = (word.removeprefix("@") for word in sent if word.startswith("@"))
    assert ("CRITICAL" in Path(body).read_text()) == is_sick


def test_node_exporter_gets_a_whole_file_that_it_may_read(host: Host, server: Running) -> None:
    sick(host)
    with held_open(server):
        done = host.run("umask 022; " + crontab(host.here(recipes.TEXTFILE)), **LIST_ALL)
    assert done == Done(0, b"", b"")
    path = host.home / "connaudit.prom"
    families = {family.name: family for family in text_string_to_metric_families(path.read_text())}
    assert families["connaudit_up"].samples[0].value == 1
    verdicts = {sample.labels["check"]: sample.value for sample in families["connaudit_check_status"].samples}
    assert verdicts["idle-tx"] == 2
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [each.name for each in host.home.glob("connaudit.prom*")] == ["connaudit.prom"]


def unit(text: str) -> Mapping[str, str]:
    """Return the settings of a systemd unit."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {key: value for key, _, value in pairs}


def test_the_service_runs_with_the_credential_that_systemd_hands_it(host: Host, server: Running) -> None:
    service = unit(host.here(recipes.SERVICE))
    credentials = host.home / "credentials"
    credentials.mkdir()
    name = service["LoadCredential"].partition(":")[0]
    (host.home / "prod-eu.pw").rename(credentials / name)
    text = host.config.read_text()
    host.config.write_text(text.replace(str(host.home / "prod-eu.pw"), f"${{CREDENTIALS_DIRECTORY}}/{name}"))
    done = host.run(service["ExecStart"], CREDENTIALS_DIRECTORY=str(credentials), LANG="C")
    assert (done.status, done.err) == (0, b"")
    assert len(host.history()) == 1
    missing = host.run(service["ExecStart"])
    assert missing.status == 3
    assert b"LoadCredential" in missing.err


def test_a_warning_is_no_failed_unit() -> None:
    assert unit(recipes.SERVICE)["SuccessExitStatus"] == "1"
    assert unit(recipes.SERVICE)["Type"] == "oneshot"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    for name, text in (("service", recipes.SERVICE), ("timer", recipes.TIMER)):
        (tmp_path / f"connaudit.{name}").write_text(text.replace("/opt/connaudit/bin/connaudit", str(PROGRAM)))
    units = [str(tmp_path / "connaudit.service"), str(tmp_path / "connaudit.timer")]
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    calendar = ["systemd-analyze", "calendar", unit(recipes.TIMER)["OnCalendar"]]
    assert subprocess.run(calendar, capture_output=True, check=False).returncode == 0


def nagios_command(recipe: str) -> str:
    """Return the command line as Nagios makes it of a service's check_command."""
    line = re.search(r"command_line\s+(.*)", recipe)
    asked = re.search(r"check_command\s+(\S+)", recipe)
    host_name = re.search(r"host_name\s+(\S+)", recipe)
    assert line
    assert asked
    assert host_name
    command = line[1].replace("$HOSTNAME$", host_name[1])
    for number, argument in enumerate(asked[1].split("!")[1:], 1):
        command = command.replace(f"$ARG{number}$", argument)
    assert "$" not in command
    return command


def test_nagios_gets_one_line_with_perfdata_and_nothing_else(host: Host) -> None:
    done = host.run(nagios_command(host.here(recipes.NAGIOS)))
    assert (done.status, done.err) == (0, b"")
    (line,) = done.out.decode().splitlines()
    said, _, numbers = line.partition(" | ")
    assert said.startswith("CONNAUDIT OK - prod-eu: ")
    assert re.fullmatch(rf"{PERFDATA}(?: {PERFDATA})*", numbers)


def test_nagios_gets_all_that_is_wrong_in_the_one_stream_that_it_reads(postgres: Running, tmp_path: Path) -> None:
    """Icinga takes what stands on standard error for more of the perfdata."""
    state = tmp_path / "file"
    state.touch()  # no directory: nothing can be remembered there
    for words, told in (
        ([postgres.url()], "CONNAUDIT OK - "),
        ([DEAD], "cannot connect: Connection refused"),
        ([postgres.url(postgres.plain)], "hidden from role plain"),
        ([postgres.url(), "--record"], "Not a directory"),
    ):
        with postgres.session(postgres.app):
            result = connaudit("idle-tx", *words, "-f", "nagios", env={"XDG_STATE_HOME": str(state)})
        assert (result.status, result.err) == (0 if "OK" in told else 3, ""), result
        assert told in result.out.splitlines()[0]
        assert result.out.startswith("CONNAUDIT OK" if "OK" in told else "CONNAUDIT UNKNOWN")


@pytest.mark.parametrize(("left", "expected"), [(0, 0), (1, 1), (6, 2)])
def test_a_ci_job_fails_for_what_tests_leave_open(postgres: Running, tmp_path: Path, left: int, expected: int) -> None:
    _, gate, report = (line for line in recipes.CI.splitlines() if not line.startswith("#"))
    host, summary = Host(tmp_path), tmp_path / "summary.md"
    env = {"DATABASE_URL": postgres.url(), "GITHUB_STEP_SUMMARY": str(summary)}
    env["PATH"] = f"{PROGRAM.parent}:{os.environ['PATH']}"
    clients = [postgres.connect(postgres.app, application_name=f"shop-tests {n}") for n in range(left)]
    try:
        gated = host.run(gate, shell="/bin/bash", **env)
        host.run(report, shell="/bin/bash", **env)
    finally:
        for client in clients:
            client.close()
    assert (gated.status, gated.err) == (expected, b"")
    assert (b"::" in gated.out) == (expected > 0)
    assert summary.read_text().startswith("## connaudit check: ")


HOLDER = """\
import os, psycopg, sys, time
with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
    connection.execute("select 1")
    os.write(1, b"1")
    os.close(1)
    os.close(2)
    time.sleep(60)
"""
TESTS = """\
import pathlib, subprocess, sys
if {leaves}:
    holder = subprocess.Popen([sys.executable, "-c", {HOLDER!r}], stdout=subprocess.PIPE)
    holder.stdout.read()
    pathlib.Path("holder").write_text(str(holder.pid))
"""


@pytest.mark.parametrize(("leaves", "expected"), [(False, 0), (True, 1)])
def test_a_ci_job_fails_if_its_tests_leave_a_session_behind(
    postgres: Running, tmp_path: Path, leaves: bool, expected: int
) -> None:
    gate = next(line for line in recipes.CI.splitlines() if line.startswith("connaudit leaks"))
    (tmp_path / "manage.py").write_text(TESTS.format(leaves=leaves, HOLDER=HOLDER))
    env = {"DATABASE_URL": postgres.url(), "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}"}
    try:
        done = Host(tmp_path).run(gate, **env)
    finally:
        if leaves:
            os.kill(int((tmp_path / "holder").read_text()), signal.SIGKILL)
    assert (done.status, done.out) == (expected, b"")
    assert (b"nothing was left behind" in done.err) != leaves
