"""A fleet in one run: two hundred targets, ten of them dead in two ways, all told of in their order and in time."""

import json
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.cli import PROGRAM, connaudit, environment
from tests.conftest import Start
from tests.faults import refused_port
from tests.servers import Running

SPARE = 10  # seconds that a slow machine may take besides
SIZE, EVERY = 200, 20  # every twentieth target is dead


def test_dead_targets_delay_and_spoil_no_other(postgres: Running, start: Start) -> None:
    server = start(postgres, max_connections=260)
    with ExitStack() as stack:
        closed = stack.enter_context(refused_port())
        deaf = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=64)).getsockname()[1]
        urls = [server.url()] * SIZE
        for place in range(0, SIZE, EVERY):
            urls[place] = server.url(port=closed if place % (2 * EVERY) else deaf)
        words = ["count", "--json", "--timeout", "8s", "--deadline", "20s"]
        result = connaudit(*words, env={"CONNAUDIT_TARGET": "\n".join(urls)})
    targets = result.json["targets"]
    assert len(targets) == SIZE
    kinds = [target["error"]["kind"] if target["error"] else None for target in targets]
    assert kinds == [
        None if place % EVERY else "refused" if place % (2 * EVERY) else "timeout" for place in range(SIZE)
    ], kinds
    assert (result.status, result.err.count("\n")) == (3, SIZE // EVERY), result.err
    assert result.seconds < 30, "the deadline of the run does not hold"


@pytest.mark.parametrize("files", [32, 64, 200])
def test_a_fleet_larger_than_the_limit_of_open_files_is_audited_in_turns(
    postgres: Running, mysql: Running, files: int
) -> None:
    urls = [postgres.url(), mysql.url()] * 20
    done = subprocess.run(
        ["/bin/sh", "-c", f"ulimit -n {files} && exec {PROGRAM} count --json --timeout 20s --deadline 40s"],
        env=environment({"CONNAUDIT_TARGET": "\n".join(urls)}),
        capture_output=True,
        check=False,
    )
    assert done.stderr == b""
    targets = json.loads(done.stdout)["targets"]
    assert [target["error"] for target in targets] == [None] * len(urls)


def test_no_more_targets_are_open_at_once_than_jobs_say_whatever_their_engines() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as deaf:
        port = deaf.getsockname()[1]
        urls = [f"postgresql://m@127.0.0.1:{port}/d", f"mysql://m@127.0.0.1:{port}/"] * 2
        result = connaudit("count", "-j", "1", "-t", "500ms", env={"CONNAUDIT_TARGET": "\n".join(urls)})
    assert result.err.count("[timeout]") == 4
    assert result.seconds >= 2  # all at once: half a second


def test_passwords_are_fetched_at_once_and_in_time(tmp_path: Path, postgres: Running) -> None:
    path = tmp_path / "config.toml"
    url = postgres.url().replace(f":{postgres.monitor.password}@", "@")
    target = '[targets.t{0}]\ndsn = "{1}"\npassword_command = {2}\n'
    hangs, prints = '["sleep", "60"]', f'["printf", "{postgres.monitor.password}"]'
    path.write_text("".join(target.format(n, url, hangs if n % 2 else prints) for n in range(24)))
    result = connaudit("count", "--json", "--config", str(path), "--deadline", "15s")
    errors = [found["error"] for found in result.json["targets"]]
    assert [error and error["kind"] for error in errors] == [None, "config"] * 12  # one after the other: a minute
    assert "did not answer within 5s" in errors[1]["message"]
    assert result.seconds < 15 + SPARE


def test_targets_that_are_one_server_are_noted_once(postgres: Running, mysql: Running) -> None:
    variables = {"A": postgres.url(), "B": postgres.url(database="postgres"), "C": mysql.url(), "D": mysql.url()}
    result = connaudit("count", "--json", *(f"env:{name}" for name in variables), env=variables)
    noted = [[note for note in target["notes"] if "same server" in note] for target in result.json["targets"]]
    assert [len(notes) for notes in noted] == [1, 0, 1, 0]
    assert noted[0][0].startswith(f"127.0.0.1:{postgres.port}/postgres is the same server")
    shown = connaudit("count", "-v", "env:A", "env:B", env=variables)
    assert "is the same server" in shown.out
