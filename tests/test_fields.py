"""`--fields help`: the columns that there are, told without asking any server."""

import pytest

from connaudit.diagnostics import NAMES, diagnostic
from connaudit.diagnostics.count import SPOKEN
from tests.cli import connaudit
from tests.servers import Running


@pytest.mark.parametrize("name", NAMES)
def test_the_columns_of_every_command_are_listed_without_a_target(name: str) -> None:
    result = connaudit(name, "--fields", "help")
    assert (result.status, result.err) == (0, "")
    assert set(result.out.splitlines()) >= {column.key for column in diagnostic(name).columns}


def test_every_column_that_is_listed_can_be_chosen(server: Running) -> None:
    env = {"DATABASE_URL": server.url()}
    for name in NAMES:
        columns = [line for line in connaudit(name, "--fields", "help").out.splitlines() if line]
        more = ["--by", ",".join(SPOKEN)] if name == "count" else []
        result = connaudit(name, "--fields", ",".join(columns), "--json", *more, env=env)
        assert (result.status, result.err) == (0, ""), (name, result)


def test_a_list_of_checks_has_no_columns_to_choose_from() -> None:
    result = connaudit("check", "--fields", "help")
    assert (result.status, result.out) == (3, "")
    assert "connaudit count --fields help" in result.err
