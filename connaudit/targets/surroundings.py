"""What a target may take from its surroundings, as the native clients do: environment, home, well-known places."""

import os
from collections.abc import Mapping

from connaudit.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where defaults come from. All of it is handed in, so that nothing here depends on the process."""

    environment: Mapping[str, str]
    home: str
    socket_directories: tuple[str, ...] = ("/var/run/postgresql", "/tmp")  # noqa: S108 - libpq's, by packager
    socket_files: tuple[str, ...] = (
        "/run/mysqld/mysqld.sock",
        "/var/lib/mysql/mysql.sock",
        "/tmp/mysql.sock",  # noqa: S108 - MySQL's own default
    )
    service_directories: tuple[str, ...] = ("/etc/postgresql-common",)  # as psycopg's own libpq
    option_files: tuple[str, ...] = ("/etc/my.cnf", "/etc/mysql/my.cnf")  # read before ~/.my.cnf, which wins

    @property
    def login(self) -> str | None:
        """The operating system's name of who runs us; None: the user id has no name, as in many containers."""
        import pwd

        try:
            return pwd.getpwuid(os.geteuid()).pw_name
        except KeyError:
            return None

    def expand(self, path: str) -> str:
        """Return a path with a leading `~` replaced by the home directory."""
        return self.home.rstrip("/") + path[1:] if path == "~" or path.startswith("~/") else path

    def show(self, path: str) -> str:
        """Return a path as people write it."""
        home = self.home.rstrip("/") + "/"
        return "~/" + path[len(home) :] if len(home) > 1 and path.startswith(home) else path
