import sys
import time
from pathlib import Path

import pytest

from connaudit.errors import ConfigError
from connaudit.targets import Secret, secrets
from tests.targets.conftest import write


def test_a_command_prints_the_password_on_its_first_line() -> None:
    assert secrets.from_command(["printf", "%s\nnext\n", "s3cr3t $HOME"]) == Secret("s3cr3t $HOME")


def test_a_command_sees_no_input_and_no_shell() -> None:
    assert secrets.from_command([sys.executable, "-c", "import sys; print(repr(sys.stdin.read()))"]) == Secret("''")
    with pytest.raises(ConfigError, match="no shell reads it"):
        secrets.from_command("echo s3cr3t")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["/nonexistent/pass"], "password_command /nonexistent/pass: No such file or directory"),
        (["sh", "-c", "echo s3cr3t; echo s3cr3t >&2; exit 3"], "password_command sh: failed with exit status 3"),
        (["true"], "password_command true: the first line is empty"),
        (["printf", "\\377s3cr3t"], "password_command printf: the password is not UTF-8"),
        (["printf", "s3cr3t\0"], "password_command printf: cannot be run"),
        ([], "is a list"),
        ([1], "is a list"),
    ],
)
def test_a_command_that_fails_is_told_without_what_it_said(argv: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        secrets.from_command(argv)
    assert "s3cr3t" not in str(caught.value)
    assert caught.value.__context__ is None


def test_a_command_that_hangs_is_given_up() -> None:
    started = time.monotonic()
    with pytest.raises(ConfigError, match=r"password_command sleep: did not answer within 0\.2s"):
        secrets.from_command(["sleep", "30"], seconds=0.2)
    assert time.monotonic() - started < 5


def test_a_file_may_lie_where_systemd_puts_credentials(tmp_path: Path) -> None:
    write(tmp_path / "prod-us", "s3cr3t\r\nnext\n", 0o440)
    path = "${CREDENTIALS_DIRECTORY}/prod-us"
    assert secrets.from_file(path, {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == Secret("s3cr3t")
    with pytest.raises(ConfigError, match="CREDENTIALS_DIRECTORY is not set") as caught:
        secrets.from_file(path, {})
    assert caught.value.hint == "systemd sets it for a unit with LoadCredential="


def test_a_file_that_everybody_can_read_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "pw", "s3cr3t\n", 0o644)
    with pytest.raises(ConfigError, match="readable by others") as caught:
        secrets.from_file(str(path), {})
    assert caught.value.hint == f"run: chmod 600 {path}"


def test_a_file_without_a_password_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        secrets.from_file(str(tmp_path / "pw"), {})
    with pytest.raises(ConfigError, match="the first line is empty"):
        secrets.from_file(str(write(tmp_path / "pw", "\ns3cr3t\n")), {})


def test_a_variable_holds_the_password() -> None:
    assert secrets.from_variable("PW", {"PW": "s3cr3t"}) == Secret("s3cr3t")
    with pytest.raises(ConfigError, match="password_env PW: the variable is not set, or empty"):
        secrets.from_variable("PW", {"PW": ""})
