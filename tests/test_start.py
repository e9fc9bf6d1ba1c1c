"""A start loads what it uses, and lists commands that it has not loaded.

Budgets are of modules, not of time: which modules are loaded is the same on every machine. Where a test fails, look at
what was imported, and why, before the list is made shorter.
"""

import subprocess
import sys

import pytest

from connaudit.cli.commands import OTHERS, SUMMARIES
from connaudit.diagnostics import NAMES
from tests.cli import connaudit
from tests.servers import Running
from tests.test_layers import loaded_by

COLUMNS = 80
# Of Python's own, each takes 2 to 40 ms; drivers and rich take 20 to 100.
OF_PSYCOPG_PQ = {"asyncio", "concurrent.futures", "logging", "pathlib", "psycopg.pq", "ssl", "subprocess", "tempfile"}
OF_PYMYSQL = {"pymysql", "ssl"}
ELSEWHERE = {
    "email", "importlib.metadata", "importlib.resources", "multiprocessing", "psycopg", "rich", "sqlite3",
    "tomllib", "urllib.request", "xml",
}  # fmt: skip
DEAR = OF_PSYCOPG_PQ | OF_PYMYSQL | ELSEWHERE
OF_AN_AUDIT = {f"connaudit.{room}" for room in ("audit", "configuration", "engines", "history", "render")}


@pytest.mark.parametrize("words", [("--version",), ("--help",), ("cuont",)])
def test_what_asks_no_server_loads_nothing_of_an_audit(words: tuple[str, ...]) -> None:
    assert loaded_by(*words) & {*DEAR, *OF_AN_AUDIT, "json", "socket", "urllib.parse"} == set()


@pytest.mark.parametrize("format", ["table", "nagios"])
def test_an_audit_of_postgresql_loads_its_driver_and_its_format(postgres: Running, format: str) -> None:
    loaded = loaded_by("count", postgres.url(), "-f", format)
    assert loaded & DEAR <= OF_PSYCOPG_PQ
    assert loaded & {"connaudit.engines.mysql", "connaudit.history", "connaudit.render.json", "encodings.idna"} == set()


@pytest.mark.parametrize("format", ["table", "nagios"])
def test_an_audit_of_mysql_loads_its_driver_and_its_format(mysql: Running, format: str) -> None:
    loaded = loaded_by("count", mysql.url(), "-f", format)
    assert loaded & DEAR <= OF_PYMYSQL
    assert loaded & {"connaudit.engines.postgresql", "connaudit.history", "connaudit.render.json", "json"} == set()


PSYCOPG_AFTER_THE_ENGINE = """
import sys
from connaudit.engines.postgresql.binding import OperationalError, pq
assert not {"psycopg", "psycopg_binary"} & set(sys.modules)
import psycopg
assert (psycopg.pq, psycopg.OperationalError) == (pq, OperationalError)
with psycopg.connect(sys.argv[1]) as connection:
    assert connection.execute("select 1::int, 'x'").fetchone() == (1, "x")
"""


def test_whoever_imports_psycopg_after_the_engine_gets_the_whole_of_it(postgres: Running) -> None:
    words = [sys.executable, "-W", "error", "-c", PSYCOPG_AFTER_THE_ENGINE, postgres.url()]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_engine_takes_a_psycopg_that_is_loaded_already() -> None:
    program = "import psycopg; from connaudit.engines.postgresql import binding; assert binding.pq is psycopg.pq"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_every_command_has_a_summary_and_no_other_name_has() -> None:
    assert list(SUMMARIES) == [*NAMES, *OTHERS]


def test_a_summary_stands_on_one_line_of_the_help() -> None:
    told = connaudit("--help", env={"COLUMNS": str(COLUMNS)}).out.splitlines()
    for name, summary in SUMMARIES.items():
        assert [line for line in told if line.split()[:1] == [name] and line.endswith(summary)], name
