"""A start loads what it uses, and lists commands that it has not loaded."""

import click
import pytest

from connaudit.cli.commands import SUMMARIES, tree
from tests.cli import connaudit

COLUMNS = 80


def test_every_command_has_a_summary_and_no_other_name_has() -> None:
    assert list(SUMMARIES) == tree().list_commands(click.Context(tree()))


@pytest.mark.parametrize("name", SUMMARIES)
def test_a_summary_stands_on_one_line_of_the_help(name: str) -> None:
    told = connaudit("--help", env={"COLUMNS": str(COLUMNS)}).out.splitlines()
    assert [line for line in told if line.split()[:1] == [name] and line.endswith(SUMMARIES[name])]
