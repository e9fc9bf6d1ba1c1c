"""The benchmarks measure what they say, and write only where they may."""

from pathlib import Path

import pytest

from tests.benchmarks import canned
from tests.benchmarks.goals import Findings, Goal
from tests.benchmarks.report import record
from tests.benchmarks.timing import Command, Failed, in_turn
from tests.cli import connaudit
from tests.servers import Running

README = "# before\n<!-- measured: goals -->\nold\n<!-- end -->\n<!-- measured: costs -->\nkept\n<!-- end -->\nafter\n"


def test_only_marked_parts_are_written_and_what_was_not_measured_stays(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_text(README, encoding="utf-8")
    record(Findings(goals=[Goal("G1", "count", 2, 3.0)]), "two processors", file)
    head, _, rest = file.read_text(encoding="utf-8").partition("<!-- measured: goals -->\n")
    table, _, rest = rest.partition("<!-- end -->")
    assert head == "# before\n"
    assert "| G1 | count | 2.00x | 3.00x | **missed** |  |" in table
    assert rest == "\n<!-- measured: costs -->\nkept\n<!-- end -->\nafter\n"


def test_what_could_not_be_measured_is_no_success() -> None:
    assert Goal("G1", "count", 2, None).verdict == "not measured"


def test_a_command_that_fails_is_not_timed() -> None:
    with pytest.raises(Failed, match="ended with 3"):
        in_turn({"bad": Command("sh", "-c", "exit 3")}, 1)


def test_ratios_are_of_what_was_slept() -> None:
    timing = in_turn({"short": Command("sleep", "0.1"), "long": Command("sleep", "0.3")}, 3)
    assert 2 < timing.ratio("long", "short") < 4
    assert timing.cpu("long") < 0.1


@pytest.mark.parametrize("kind", ["postgres", "mysql"])
def test_a_recorded_server_answers_as_it_did(kind: str, request: pytest.FixtureRequest) -> None:
    server: Running = request.getfixturevalue(kind)
    # PostgreSQL's passwords cannot be replayed; on its socket it asks for none.
    address = f"{server.socket}/.s.PGSQL.{server.port}" if server.is_postgres else (server.host, server.port)
    told: list[object] = []
    answers = canned.recorded(kind, address, lambda port: told.append(_count(server, port)))
    with canned.replaying(kind, answers, 0) as port:
        assert [_count(server, port)] == told


def _count(server: Running, port: int) -> object:
    url = server.url(port=port) if server.is_postgres else server.url(port=port, ssl_mode="DISABLED")
    result = connaudit("count", url, "--json")
    assert result.status in (0, 1, 2), result
    return result.json["targets"][0]["summary"]
