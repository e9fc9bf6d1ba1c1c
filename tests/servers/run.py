#!/usr/bin/env python3
"""Make data directories for the server beside this file, and serve them: what description.py asks of `run`.

install.py puts a copy of this file, named `run`, next to the server's programs in `root` and its `server.json`.
Standard library only: it runs by whatever python3 there is.
"""

import json
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

HOME = Path(__file__).resolve().parent
PASSWORD = os.environ.get("DBTEST_PASSWORD", "dbtest")
USER = os.environ.get("DBTEST_USER", "nobody")
GREETING = "usage: run version | init DATADIR | start DATADIR PORT SOCKETDIR [OPTION...]"


def dropping_root() -> list[str]:
    """Return the words before a command that make it run as $DBTEST_USER, and die with us if that was asked for.

    The death signal is set last: a change of user would clear it.
    """
    words = []
    if os.geteuid() == 0:
        who = pwd.getpwnam(USER)
        words = ["--reuid", str(who.pw_uid), "--regid", str(who.pw_gid), "--clear-groups"]
    if signal := os.environ.get("DBTEST_PDEATHSIG"):
        words += ["--pdeathsig", signal]
    return ["setpriv", *words] if words else []


def empty_directory(data: Path) -> None:
    """Make a directory that belongs to the user that the server runs as."""
    data.mkdir(mode=0o700)
    give_away(data)
    os.chdir(data)


def give_away(path: Path) -> None:
    """Let the user that the server runs as have it."""
    if os.geteuid() == 0:
        shutil.chown(path, USER, pwd.getpwnam(USER).pw_gid)


class Postgres:
    """PostgreSQL as a Python wheel carries it."""

    def __init__(self) -> None:
        self.bin = next(HOME.glob("root/*/pginstall/bin"))

    def version(self) -> list[str]:
        return [f"{self.bin}/postgres", "--version"]

    def init(self, data: Path) -> int:
        empty_directory(data)
        secret = data.with_name(data.name + ".password")
        secret.touch(mode=0o600)
        secret.write_text(PASSWORD + "\n", encoding="utf-8")
        give_away(secret)
        words = ["-U", "postgres", "-E", "UTF8", "--locale=C", "--auth-local=trust", "--auth-host=scram-sha-256"]
        try:
            return subprocess.call(
                [*dropping_root(), f"{self.bin}/initdb", "-D", data, *words, f"--pwfile={secret}", "--no-sync"]
            )
        finally:
            secret.unlink()

    def start(self, data: Path, port: str, sockets: str, options: list[str]) -> list[str]:
        places = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={sockets}"]
        return [f"{self.bin}/postgres", "-D", str(data), "-p", port, *places, *options]


class MariaDB:
    """MariaDB as Debian's packages hold it, unpacked."""

    def __init__(self) -> None:
        self.root = HOME / "root"
        self.share = next(path for path in self.root.glob("usr/share/m*") if (path / "charsets").is_dir())
        libraries = [str(path.parent) for path in self.root.glob("usr/lib/*-linux-*/*.so*")]
        os.environ["LD_LIBRARY_PATH"] = ":".join(dict.fromkeys(libraries))
        self.server = [
            f"{self.root}/usr/sbin/mariadbd",
            "--no-defaults",
            f"--basedir={self.root}/usr",
            f"--lc-messages-dir={self.share}",
            f"--character-sets-dir={self.share}/charsets",
            f"--plugin-dir={self.root}/usr/lib/mysql/plugin",
        ]

    def version(self) -> list[str]:
        return [*self.server, "--version"]

    def init(self, data: Path) -> int:
        empty_directory(data)
        words = [f"--datadir={data}", f"--tmpdir={data}", "--bootstrap", "--log-warnings=0", "--max-allowed-packet=8M"]
        statements = self.statements().encode()
        return subprocess.run(
            [*dropping_root(), *self.server, *words, "--enforce-storage-engine="], input=statements, check=False
        ).returncode

    def statements(self) -> str:
        """Return what mariadb-install-db executes, with a password in place of the socket's; one statement a line."""
        first = "create database mysql;\nuse mysql;\nset @auth_root_socket=null;\n"
        parts = ["system_tables", "performance_tables", "system_tables_data", "sys_schema"]
        files = [next(self.share.glob(f"m*_{part}.sql")) for part in parts]
        files[3:3] = [self.share / "fill_help_tables.sql", self.share / "maria_add_gis_sp_bootstrap.sql"]
        password = PASSWORD.replace("\\", "\\\\").replace("'", "''")
        grant = "grant all on *.* to root@'{}' identified by '{}' with grant option;\n"
        last = "use mysql;\ndelete from global_priv where user in ('root', '');\nflush privileges;\n"
        last += "".join(grant.format(host, password) for host in ("localhost", "127.0.0.1"))
        return first + "".join(file.read_text(encoding="utf-8") for file in files) + last

    def start(self, data: Path, port: str, sockets: str, options: list[str]) -> list[str]:
        places = ["--bind-address=127.0.0.1", f"--socket={sockets}/mysql.sock", f"--pid-file={data}/server.pid"]
        return [*self.server, f"--datadir={data}", f"--port={port}", *places, *options]


def main(words: list[str]) -> int:
    """Do what the words say; for `start` this process becomes the server."""
    kind = json.loads((HOME / "server.json").read_text(encoding="utf-8"))["kind"]
    server: Postgres | MariaDB = Postgres() if kind == "postgres" else MariaDB()
    os.environ.update(LC_ALL="C", TZ=os.environ.get("TZ", "UTC"))
    match words:
        case ["version"]:
            become(server.version())
        case ["init", data]:
            return server.init(Path(data).absolute())
        case ["start", data, port, sockets, *options]:
            become([*dropping_root(), *server.start(Path(data).absolute(), port, sockets, options)])
    sys.exit(GREETING)


def become(command: list[str]) -> NoReturn:
    """Let this process be the command, so that who started us can signal it."""
    os.execvp(command[0], command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
