"""What README.md shows, made by the program itself: `python -m tests.readme` writes it, `--check` compares.

A generated part stands between `<!-- generated: WHAT -->` and `<!-- end -->`. WHAT is a command line, whose output is
shown, or the name of a table. Commands run through the front door on one saved snapshot, in place of a server:
readme.json was recorded from the demonstration, then given the addresses and ages of a longer day.
"""
# ruff: noqa: T201 - a program that talks to whoever runs it

import io
import json
import math
import os
import re
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from unittest import mock

import click

from connaudit import engines
from connaudit.cli import recipes
from connaudit.cli.auditing import Begun
from connaudit.cli.commands import tree
from connaudit.cli.main import run
from connaudit.cli.settings import SETTINGS
from connaudit.diagnostics import NAMES, diagnostic
from connaudit.engines import Budget
from connaudit.history import store
from connaudit.render import FORMATS
from connaudit.snapshot import Fact, Snapshot
from connaudit.targets import Target

README = Path(__file__).parents[1] / "README.md"
SAVED = Path(__file__).with_name("readme.json")
PART = re.compile(r"(<!-- generated: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)
WIDTH = 156  # columns: code on a page scrolls, and hardly anything is cut

SHARED = {setting.name.replace("-", "_") for setting in SETTINGS}
CONFIGURATION = 'version = 1\n[targets.prod-eu]\ndsn = "postgresql://monitor@db.eu.example.net/shop"\n'


DAY = 86400


def snapshot() -> Snapshot:
    """Return what the server of the examples tells."""
    return Snapshot.from_json(json.loads(SAVED.read_text(encoding="utf-8")))


def take(targets: Sequence[Target], _facts: frozenset[Fact], _budget: Budget) -> Iterator[tuple[int, Snapshot]]:
    """Answer as an engine does, with the saved snapshot."""
    for index, _ in enumerate(targets):
        yield index, snapshot()


def remember_a_week(file: Path, told: Snapshot) -> None:
    """Record the week before: days with their office hours, and a leak below them."""
    now = datetime.fromisoformat(told.taken_at).timestamp()
    leaked = [session for session in told.clients if session.application == "uvicorn: shop.asgi"]
    with store.open(file) as history:
        for hour in range(7 * 24):
            at = now - 7 * DAY + (hour + 0.5) * 3600
            office = max(0.0, math.sin((at % DAY - DAY / 3) / DAY * 2 * math.pi))
            used = 14 + round(hour * 0.13 + office * 7) + hour * 37 % 5
            there = [s for s in told.sessions if s not in leaked or leaked.index(s) <= hour * len(leaked) / 168]
            capacity = replace(told.capacity, used=used + 1)
            history.record({"prod-eu": replace(told, sessions=tuple(there), capacity=capacity)}, at)


@contextmanager
def replaying() -> Iterator[None]:
    """Let the saved snapshot be the only server there is, a configuration name it, and a history know it."""
    with tempfile.TemporaryDirectory() as home:
        file = Path(home) / "config.toml"
        file.write_text(CONFIGURATION, encoding="utf-8")
        surroundings = {"HOME": home, "CONNAUDIT_CONFIG": str(file), "CONNAUDIT_WIDTH": str(WIDTH), "LANG": "C.UTF-8"}
        told = snapshot()
        moment = datetime.fromisoformat(told.taken_at)
        remember_a_week(store.default_path({}, home, root=False), told)
        with (
            mock.patch.dict(engines.ENGINES, {"postgresql": __name__}),
            mock.patch.dict(os.environ, {**surroundings, "XDG_STATE_HOME": f"{home}/.local/state"}, clear=True),
            mock.patch.object(Begun, "now", return_value=Begun(time.monotonic(), moment)),
        ):
            yield


def output(words: Sequence[str]) -> tuple[str, int]:
    """Run connaudit, and return what it writes and its exit status."""
    written = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with replaying(), redirect_stdout(written):
        status = run(words)
    written.seek(0)
    text = written.read()
    assert text, f"connaudit {shlex.join(words)} wrote nothing"
    return text, status


def example(line: str) -> str:
    """Return a command line with its output and exit status; of JSON only what the jq after it picks."""
    command, _, path = line.partition(" | jq ")
    text, status = output(shlex.split(command)[1:])
    if path:
        return fenced(f"$ {line}\n{picked(json.loads(text), path)}", "console")
    return fenced(f"$ {line}\n{text.rstrip()}\n$ echo $?\n{status}", "console")


def picked(document: object, path: str) -> str:
    """Return what jq does for a path such as .targets[0].summary."""
    for key in re.findall(r"\w+", path):
        document = document[int(key) if key.isdigit() else key]  # type: ignore[index]
    return json.dumps(document, indent=2)


def fenced(text: str, language: str) -> str:
    return f"```{language}\n{text}\n```"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def code(text: str) -> str:
    return f"`{text}`" if text else ""


def commands() -> str:
    """Return every command with the first sentence of its help."""
    rows = [(code(f"connaudit {name}"), first_sentence(command.help or "")) for name, command in told(tree())]
    return table(("Command", "What it tells"), rows)


def told(group: click.Group) -> Iterator[tuple[str, click.Command]]:
    """Yield the commands as `leaves` does, but `watch` once: it has a command for each check, all alike."""
    seen = False
    for name, command in leaves(group):
        if not name.startswith("watch "):
            yield name, command
        elif not seen:
            seen = True
            watch = group.get_command(click.Context(group), "watch")
            assert watch
            yield "watch [CHECK]", watch


def leaves(group: click.Group, before: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield the commands of a group and of its groups, each by its words."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from leaves(command, f"{before}{name} ")
        elif command:
            yield f"{before}{name}", command


def first_sentence(text: str) -> str:
    return re.split(r"(?<=[^.])\.(?:\s|$)", " ".join(text.split()), maxsplit=1)[0]


def options() -> str:
    """Return the options that all auditing commands share, as their help has them."""
    command = dict(leaves(tree()))[NAMES[0]]
    return table(("Option", "Meaning"), rows_of(command, lambda option: option.name in SHARED))


def own_options() -> str:
    """Return the options of each command that it alone has."""
    every = dict(leaves(tree()))
    rows = []
    for name, command in every.items():
        watched = every.get(name.removeprefix("watch ")) if name.startswith("watch ") else None
        words = code("connaudit watch [CHECK]" if watched else f"connaudit {name}")
        rows += [(words, *row) for row in rows_of(command, _without(SHARED, watched))]
    return table(("Command", "Option", "Meaning"), dict.fromkeys(rows))


def _without(names: set[str], known: click.Command | None) -> Callable[[click.Option], bool]:
    """Return what leaves out options of these names, and those of a command that is known."""
    left_out = names | {option.name for option in (known.params if known else ()) if option.name}
    return lambda option: option.name not in left_out


def rows_of(command: click.Command, wanted: Callable[[click.Option], bool]) -> list[tuple[str, str]]:
    """Return flags and meaning of some options of a command."""
    found = [each for each in command.params if isinstance(each, click.Option) and not each.hidden and wanted(each)]
    return [
        (code(" ".join((", ".join(each.opts), "" if each.is_flag else each.metavar or "")).strip()), each.help or "")
        for each in found
    ]


def thresholds() -> str:
    """Return each diagnostic's metrics and default thresholds."""
    rows = []
    for asked in map(diagnostic, NAMES):
        for metric in asked.metrics:
            levels = [
                of_metric(texts, metric.name, metric is asked.metrics[0]) for texts in (asked.warning, asked.critical)
            ]
            rows.append((code(asked.name), code(metric.name), metric.help, *levels))
    return table(("Check", "Metric", "What it is", "WARNING", "CRITICAL"), rows)


def of_metric(conditions: Iterable[str], name: str, is_first: bool) -> str:
    """Return the default thresholds on one metric; one that names none is on the first."""
    split = [text.rpartition("=") for text in conditions]
    return ", ".join(code(range_) for metric, _, range_ in split if metric == name or (is_first and not metric))


def formats() -> str:
    """Return every format with what its module says of itself."""
    rows = []
    for name in FORMATS:
        module = __import__(f"connaudit.render.{name}", fromlist=["render"])
        rows.append((code(f"-f {name}"), first_sentence(module.__doc__ or "")))
    return table(("Format", "What it is"), rows)


def recipe(name: str) -> str:
    """Return how others run connaudit, as `connaudit help cron` has it."""
    languages = {"SERVICE": "ini", "TIMER": "ini", "KUBERNETES": "yaml", "CI": "sh"}
    return fenced(getattr(recipes, name).rstrip(), languages.get(name, "text"))


TABLES = {
    "commands": commands,
    "options": options,
    "own options": own_options,
    "thresholds": thresholds,
    "formats": formats,
}


def made(what: str) -> str:
    """Return a generated part."""
    if what.startswith("recipe "):
        return recipe(what.removeprefix("recipe "))
    return TABLES[what]() if what in TABLES else example(what.removeprefix("$ "))


def current(text: str) -> str:
    """Return the text with every generated part made again."""
    return PART.sub(lambda found: f"{found[1]}{made(found[2])}\n{found[3]}", text)


def main(arguments: Sequence[str]) -> int:
    """Write the README again, or say that it would differ."""
    text = README.read_text(encoding="utf-8")
    wanted = current(text)
    if arguments == ["--check"]:
        if wanted != text:
            print("README.md does not show what the program says; run: make docs", file=sys.stderr)
            return 1
        return 0
    README.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
