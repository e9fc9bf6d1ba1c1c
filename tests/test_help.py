"""`connaudit help`, the manual page and completion: made from the program, and true of it."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from connaudit.cli.commands import OTHERS
from connaudit.cli.settings import SETTINGS
from connaudit.cli.topics import TOPICS
from connaudit.diagnostics import NAMES, diagnostic
from connaudit.errors import ConnauditError
from tests.cli import PROGRAM, connaudit, environment

WIDTH = 78


def told(topic: str) -> str:
    result = connaudit("help", topic)
    assert (result.status, result.err) == (0, "")
    return result.out


def kinds(of: type[ConnauditError]) -> set[str]:
    return {kind.kind for kind in of.__subclasses__()}.union(*(kinds(kind) for kind in of.__subclasses__()))


def test_topics_are_listed() -> None:
    result = connaudit("help")
    assert [line.split()[0] for line in result.out.splitlines()] == list(TOPICS)
    assert (result.status, result.err) == (0, "")


@pytest.mark.parametrize("topic", TOPICS)
def test_a_topic_fits_a_terminal_and_an_ascii_mail(topic: str) -> None:
    text = told(topic)
    assert text.startswith(f"{topic}: ")
    assert text.isascii()
    assert "**" not in text
    long = [line for line in text.splitlines() if len(line) > WIDTH + 2]
    assert [line for line in long if "connaudit" not in line] == []  # command lines cannot be broken


def test_exit_codes_tells_every_status_and_every_kind_of_error() -> None:
    text = told("exit-codes")
    assert re.findall(r"^    (\d)  (\w+)", text, re.MULTILINE) == [
        ("0", "OK"), ("1", "WARNING"), ("2", "CRITICAL"), ("3", "UNKNOWN"),
    ]  # fmt: skip
    assert set(re.findall(r"^    \[(\w+)\]", text, re.MULTILINE)) == kinds(ConnauditError) - {"internal"}


def test_thresholds_tells_every_metric_with_the_defaults() -> None:
    text = " ".join(told("thresholds").split())
    for name in NAMES:
        asked = diagnostic(name)
        part = text.partition(f" {name}, ")[2]
        for metric in asked.metrics:
            assert f" {metric.name} " in part
        for flag, level in (("-w", asked.warning), ("-c", asked.critical)):
            for condition in level:
                assert f"{flag} {condition}" in part


def test_environment_tells_every_variable_and_each_of_them_is_read() -> None:
    listed = set(re.findall(r"CONNAUDIT_[A-Z_]+", told("environment")))
    assert {setting.variable() for setting in SETTINGS} < listed
    for variable in ("CONNAUDIT_JOBS", "CONNAUDIT_IDLE_TX_MIN_AGE"):
        assert variable in listed
        command = "idle-tx" if "IDLE" in variable else "count"
        assert variable in connaudit(command, "host=127.0.0.1 port=1", env={variable: "nonsense"}).err


def test_help_of_a_command_is_that_of_the_command() -> None:
    for words in (["count"], ["targets", "test"]):
        assert connaudit("help", *words).out == connaudit(*words, "--help").out


@pytest.mark.parametrize("words", [["cuont"], ["exit-code"], ["targets", "lst"]])
def test_help_on_what_there_is_not_names_the_nearest(words: list[str]) -> None:
    result = connaudit("help", *words)
    assert (result.status, result.out) == (3, "")
    assert "there is no help on" in result.err
    assert "[usage]" in result.err


def manual() -> str:
    result = connaudit("help", "--man")
    assert (result.status, result.err) == (0, "")
    return result.out


def test_the_manual_page_has_every_command_option_and_topic() -> None:
    plain = manual().replace("\\-", "-")
    for name in (*NAMES, *OTHERS):
        assert f".SS connaudit {name}" in plain
    for setting in SETTINGS:
        assert re.search(rf"^\.TP\n\\fB.*{setting.flags[-1]}\b", plain, re.MULTILINE), setting.name
    for topic in TOPICS:
        assert f".SH {topic.upper().replace('-', ' ')}\n" in plain


def test_the_manual_page_holds_no_line_that_roff_would_misread() -> None:
    macros = {".TH", ".SH", ".SS", ".TP", ".PP", ".B", ".nf", ".fi", ".RS", ".RE", ".nh", ".ad"}
    for line in manual().splitlines():
        assert line.isascii()
        assert not line.startswith("'")
        if line.startswith("."):
            assert line.split()[0] in macros, line
        assert re.sub(r"\\(-|e|&|fB|fI|fR)", "", line).count("\\") == 0, line


@pytest.mark.skipif(not shutil.which("groff"), reason="groff is not installed")
def test_the_manual_page_pleases_groff() -> None:
    done = subprocess.run(
        ["groff", "-man", "-Tascii", "-ww", "-z"], input=manual(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_script(shell: str) -> None:
    result = connaudit("completion", shell)
    assert (result.status, result.err) == (0, "")
    assert f"{shell}_complete" in result.out
    assert "%(" not in result.out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["connaudit", "id"], {"idle-tx"}),
        (["connaudit", "targets", ""], {"list", "show", "test"}),
        (["connaudit", "count", "--on-"], {"--on-unreachable"}),
        (["connaudit", "completion", "z"], {"zsh"}),
    ],
)
def test_bash_completes(words: list[str], expected: set[str]) -> None:
    assert completed(words) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["connaudit", "count", "prod-"], {"prod-eu", "prod-us"}),
        (["connaudit", "targets", "test", "prod-u"], {"prod-us"}),
        (["connaudit", "check", "--tag", "e"], {"eu"}),
        (["connaudit", "check", "-f", "na"], {"nagios"}),
        (["connaudit", "check", "-T", "prod-e"], {"prod-eu"}),
    ],
)
def test_bash_completes_what_is_configured(tmp_path: Path, words: list[str], expected: set[str]) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[targets.prod-eu]\ndsn = 'host=h'\ntags = ['eu']\n[targets.prod-us]\ndsn = 'host=h'\n")
    assert completed(words, CONNAUDIT_CONFIG=str(config)) == expected
    config.write_text("this is no TOML")
    assert completed(words, CONNAUDIT_CONFIG=str(config)) <= {"nagios"}


def completed(words: list[str], **env: str) -> set[str]:
    """Return what bash offers for the last word, having said nothing."""
    script = connaudit("completion", "bash").out
    asked = f"{script}\nCOMP_WORDS=({' '.join(map(repr, words))}); COMP_CWORD={len(words) - 1}\n"
    asked += '_connaudit_completion connaudit; printf "%s\\n" "${COMPREPLY[@]}"'
    path = f"{PROGRAM.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", asked], env=environment({"PATH": path, **env}), capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return set(done.stdout.split())
