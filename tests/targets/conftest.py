from collections.abc import Callable
from pathlib import Path

import pytest

from connaudit.targets.surroundings import Surroundings

Around = Callable[..., Surroundings]


@pytest.fixture
def around(tmp_path: Path) -> Around:
    """Return surroundings of which nothing is the machine's: an empty home, no sockets, the variables given."""

    def build(**environment: str) -> Surroundings:
        places = {
            "socket_directories": (f"{tmp_path}/run", f"{tmp_path}/tmp"),
            "socket_files": (f"{tmp_path}/mysqld.sock",),
            "service_directories": (f"{tmp_path}/etc",),
            "option_files": (f"{tmp_path}/etc/my.cnf",),
        }
        return Surroundings(environment, str(tmp_path), **places)

    return build


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    """Write a file of that mode, with its directories."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path
