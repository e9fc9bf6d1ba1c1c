"""Passwords that a configuration names rather than holds: by command, by file, by variable."""

import os
import re
import stat
from collections.abc import Mapping, Sequence

from connaudit.errors import ConfigError
from connaudit.targets import Secret

COMMAND_SECONDS = 5.0


def from_command(argv: Sequence[str], *, seconds: float = COMMAND_SECONDS) -> Secret:
    """Return the first line that a program prints; it runs without a shell, without input, at most `seconds`.

    What it writes to stderr is not repeated, for it may hold anything. Raises ConfigError.
    """
    import subprocess

    check_command(argv)
    program = argv[0]
    quiet = subprocess.DEVNULL
    try:
        done = subprocess.run(argv, stdin=quiet, stdout=subprocess.PIPE, stderr=quiet, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        problem = f"did not answer within {seconds:g}s"
    except OSError as error:
        problem = error.strerror or "cannot be run"
    except ValueError:  # a NUL in it
        problem = "cannot be run"
    else:
        if done.returncode:
            problem = f"failed with exit status {done.returncode}"
        else:
            return _first_line(done.stdout, f"password_command {program}")
    raise ConfigError(f"password_command {program}: {problem}")


def check_command(argv: object, where: str = "") -> None:
    """Raise ConfigError for what is no list of words."""
    if not isinstance(argv, list) or not argv or not all(isinstance(word, str) for word in argv):
        raise ConfigError(f'{where}password_command is a list, such as ["pass", "show", "db"]: no shell reads it')


def from_file(path: str, environment: Mapping[str, str]) -> Secret:
    """Return the first line of a file that only its owner or group can read.

    `${NAME}` in the path stands for a variable, as in `${CREDENTIALS_DIRECTORY}/db`. Raises ConfigError.
    """
    whole = _filled_in(path, environment)
    try:
        with open(whole, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read()
    except OSError as error:
        raise ConfigError(f"password_file {whole}: {error.strerror}") from None
    if stat.S_ISREG(mode) and mode & 0o007:
        raise ConfigError(f"password_file {whole} is readable by others", hint=f"run: chmod 600 {whole}")
    return _first_line(content, f"password_file {whole}")


def from_variable(name: str, environment: Mapping[str, str]) -> Secret:
    """Return what a variable holds; ConfigError if it is not set or empty."""
    if not environment.get(name):
        raise ConfigError(f"password_env {name}: the variable is not set, or empty")
    return Secret(environment[name])


def _filled_in(path: str, environment: Mapping[str, str]) -> str:
    for name in re.findall(r"\$\{(\w+)\}", path):
        if not environment.get(name):
            raise ConfigError(f"password_file {path}: {name} is not set", hint=_hint(name))
    return re.sub(r"\$\{(\w+)\}", lambda variable: environment[variable[1]], path)


def _hint(name: str) -> str | None:
    return "systemd sets it for a unit with LoadCredential=" if name == "CREDENTIALS_DIRECTORY" else None


def _first_line(content: bytes, source: str) -> Secret:
    line = content.split(b"\n", 1)[0].removesuffix(b"\r")
    if not line:
        raise ConfigError(f"{source}: the first line is empty")
    try:
        return Secret(line.decode())
    except UnicodeDecodeError:  # its message would hold the password
        pass
    raise ConfigError(f"{source}: the password is not UTF-8")
