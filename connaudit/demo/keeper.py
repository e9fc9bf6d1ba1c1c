"""A throwaway PostgreSQL that lives as long as this process's standard input is open.

    python -m connaudit.demo.keeper PROGRAMS

PROGRAMS is a directory with bin/postgres and bin/initdb. One line of JSON on stdout tells `socket` and `version`, or
an `error`. When the input ends, in whatever way who started us ended, the server is stopped and its files are removed.
A process of its own can do that even for one that was killed. Standard library only.
"""

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

PORT = 5432  # only part of the socket's name: nothing listens on the network
LONGEST_SOCKET = 103  # bytes of a Unix socket's path; 107 on Linux
PATIENCE = 30.0  # seconds for initdb, and for the server to get ready
STOPPING = ((signal.SIGINT, 5.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))  # fast, immediate, at once

SETTINGS = {
    "listen_addresses": "",
    "port": PORT,
    "max_connections": 40,
    "shared_buffers": "16MB",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "wal_level": "minimal",
    "max_wal_senders": 0,
    "timezone": "UTC",
}


class Unfit(Exception):
    """The server cannot run here."""


def main(programs: Path) -> None:
    """Serve until the input ends or the server does."""
    top = make_place()
    try:
        signal.signal(signal.SIGTERM, _leave)
        threading.Thread(target=_leave_at_end_of_input, daemon=True).start()
        serve(programs, top)
    except (Unfit, OSError, subprocess.SubprocessError) as error:
        tell(error=str(error))
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        remove(top)


def tell(**facts: str) -> None:
    """Write one line for whoever started us, who may be gone."""
    try:
        sys.stdout.write(json.dumps(facts) + "\n")
        sys.stdout.flush()
    except OSError:
        sys.stdout = None  # or the interpreter would complain at its end


def _leave(_number: int, _frame: object) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(0)


def _leave_at_end_of_input() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def make_place() -> Path:
    """Make a directory that only the server's user may enter: whoever comes through to the socket is trusted."""
    for parent in (tempfile.gettempdir(), "/tmp", "/var/tmp"):  # noqa: S108 - mkdtemp makes a private one in it
        fits = len(os.fsencode(parent)) + len(f"/connaudit-demo-12345678/.s.PGSQL.{PORT}") <= LONGEST_SOCKET
        if fits and (os.geteuid() != 0 or _open_to_all(Path(parent))):
            return Path(tempfile.mkdtemp(prefix="connaudit-demo-", dir=parent))
    raise Unfit("no temporary directory will do; name one in TMPDIR")


def _open_to_all(directory: Path) -> bool:
    resolved = directory.resolve()
    return all(part.stat().st_mode & 0o001 for part in (resolved, *resolved.parents))


def remove(top: Path) -> None:
    """Remove all that the server wrote; its last processes may still be writing."""
    deadline = time.monotonic() + 5
    while top.exists() and time.monotonic() < deadline:
        shutil.rmtree(top, ignore_errors=True)


def serve(programs: Path, top: Path) -> None:
    """Make a data directory, serve it, and tell when it can be used."""
    identity = unprivileged(top)
    programs, version = runnable(programs, top, identity)
    initialise(programs, top, identity)
    settings = {**SETTINGS, "unix_socket_directories": top}
    words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    server = _started([str(programs / "bin/postgres"), "-D", str(top / "data"), *words], top, identity)
    try:
        wait_until_ready(server, top)
        tell(socket=str(top), version=version)
        server.wait()
    finally:
        stop(server)


def unprivileged(top: Path) -> dict[str, Any]:
    """Return how a process is started as somebody whom PostgreSQL accepts: it refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise Unfit("PostgreSQL does not run as root, and there is no user nobody; run as another user") from None
    os.chown(top, nobody.pw_uid, nobody.pw_gid)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": ()}


def runnable(programs: Path, top: Path, identity: dict[str, Any]) -> tuple[Path, str]:
    """Return the programs and their version; a copy if the unprivileged user may not reach them in root's home."""
    version = _version(programs, top, identity)
    if version is None and identity:
        programs = copied(programs, top, identity)
        version = _version(programs, top, identity)
    if version is None:
        raise Unfit(f"{programs / 'bin/postgres'} does not run on this machine")
    return programs, version


def _version(programs: Path, top: Path, identity: dict[str, Any]) -> str | None:
    command = [str(programs / "bin/postgres"), "--version"]
    try:
        said: str = subprocess.check_output(command, stderr=subprocess.DEVNULL, text=True, cwd=top, **identity)
    except (OSError, subprocess.SubprocessError):
        return None
    return said.split()[2]  # postgres (PostgreSQL) 18.4


def copied(programs: Path, top: Path, identity: dict[str, Any]) -> Path:
    """Copy the programs and, at the same distance, the libraries that their wheel keeps beside the package."""
    package = programs.parent
    copy = top / "programs" / package.name / programs.name
    shutil.copytree(programs, copy, ignore=shutil.ignore_patterns("include", "*.a"))
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, top / "programs" / libraries.name)
    for directory, _, files in os.walk(top / "programs"):
        for path in (directory, *(os.path.join(directory, name) for name in files)):
            os.chown(path, identity["user"], identity["group"], follow_symlinks=False)
    return copy


def initialise(programs: Path, top: Path, identity: dict[str, Any]) -> None:
    """Make the data directory."""
    words = ["-U", "postgres", "-E", "UTF8", "--locale=C", "--auth=trust", "--no-sync"]
    process = _started([str(programs / "bin/initdb"), "-D", str(top / "data"), *words], top, identity)
    try:
        if process.wait(PATIENCE) != 0:
            raise Unfit(f"initdb failed: {_last_words(top)}")
    except subprocess.TimeoutExpired:
        raise Unfit(f"initdb took longer than {PATIENCE:.0f} s") from None
    finally:
        stop(process)


def _started(command: list[str], top: Path, identity: dict[str, Any]) -> subprocess.Popen[bytes]:
    """Start a process in a group of its own: a Ctrl-C is for the demonstration, which then ends it in good order."""
    with (top / "log").open("ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=top,
            env={"LC_ALL": "C", "PATH": os.defpath},
            start_new_session=True,
            **identity,
        )


def wait_until_ready(server: subprocess.Popen[bytes], top: Path) -> None:
    """Wait until the server says so in its pid file."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise Unfit(f"PostgreSQL did not start: {_last_words(top)}")
        if _says_ready(top / "data" / "postmaster.pid"):
            return
        time.sleep(0.02)
    raise Unfit(f"PostgreSQL did not get ready within {PATIENCE:.0f} s")


def _says_ready(file: Path) -> bool:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    return len(lines) > 7 and lines[7].strip() == "ready"


def _last_words(top: Path) -> str:
    lines = (top / "log").read_text(encoding="utf-8", errors="replace").split("\n")
    return " / ".join(line.strip() for line in lines if line.strip())[-500:]


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process and what is left of its group, more firmly each time."""
    for number, seconds in STOPPING:
        if process.poll() is not None:
            return
        os.killpg(process.pid, number)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue


if __name__ == "__main__":
    main(Path(sys.argv[1]))
