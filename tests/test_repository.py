"""The repository itself: what lies at its top, and what must not be in it."""

import re
import subprocess
import tomllib
from pathlib import Path

import connaudit

TOP = Path(__file__).parents[1]
AGREED = {"connaudit", "tests", "pyproject.toml", "README.md", "Makefile", "LICENSE", "CHANGELOG.md", "uv.lock"}
UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX)\b|@pytest\.mark\.(?:skip|xfail)\b")


def tracked() -> list[Path]:
    """Return the files of the repository that exist."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=TOP, capture_output=True, text=True, check=True).stdout
    return [TOP / name for name in listed.split("\0") if name and (TOP / name).is_file()]


def test_the_top_holds_what_was_agreed() -> None:
    there = {path.relative_to(TOP).parts[0] for path in tracked()}
    assert {name for name in there if not name.startswith(".")} <= AGREED


def test_nothing_is_left_unfinished() -> None:
    found = [
        f"{path.relative_to(TOP)}:{number}: {line.strip()}"
        for path in tracked()
        if path != Path(__file__) and path.suffix in {".py", ".md", ".toml", ""}
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if UNFINISHED.search(line)
    ]
    assert not found


def test_no_path_of_a_developers_machine_is_written_down() -> None:
    home = re.compile(r"/(?:home|Users|work)/\w|/opt/pypi|/tmp/(?:servers|w)\b")
    found = [
        f"{path.relative_to(TOP)}: {match[0]}"
        for path in tracked()
        if path != Path(__file__) and path.suffix in {".py", ".md", ".toml", ".sh", ""}
        if (match := home.search(path.read_text(encoding="utf-8")))
    ]
    assert not found


def test_the_version_is_one() -> None:
    told = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))
    assert told["tool"]["hatch"]["version"]["path"] == "connaudit/__init__.py"
    assert re.fullmatch(r"\d+\.\d+\.\d+(?:[a-z]+\d+)?", connaudit.__version__)


def test_every_module_says_what_it_is() -> None:
    silent = [
        path.name for path in TOP.glob("connaudit/**/*.py") if not path.read_text(encoding="utf-8").startswith('"""')
    ]
    assert not silent
