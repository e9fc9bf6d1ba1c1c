"""connaudit as its users have it: installed beside its own dependencies alone; and the peers that are there."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.timing import Command

PROJECT = Path(__file__).parents[2]
FINDINGS = (0, 1, 2)  # whatever connaudit found, it could look
# What Python takes to load what connaudit is made of, by driver: no start is shorter.
IMPORTS = {driver: f"python -c 'import click, {driver}'" for driver in ("psycopg", "pymysql")}


class Installed:
    """A virtual environment of its own, not editable, with bytecode: what `pip install connaudit` makes."""

    def __init__(self, place: Path) -> None:
        self._bin = place / "bin"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
        subprocess.run([sys.executable, "-m", "pip", "--python", self.python, *_INSTALL, PROJECT], check=True)

    @property
    def python(self) -> str:
        """Return its interpreter."""
        return str(self._bin / "python")

    def imports(self, driver: str) -> Command:
        """Return a call of Python that loads what connaudit is made of."""
        return Command(self.python, "-c", f"import click, {driver}")

    def connaudit(self, *words: str, **environment: str) -> Command:
        """Return a call of connaudit."""
        return Command(str(self._bin / "connaudit"), *words, expected=FINDINGS, **environment)


_INSTALL = ("install", "-qq", "--disable-pip-version-check", "--compile")


@contextmanager
def installed(place: Path) -> Iterator[Installed]:
    """Install connaudit for as long as the block lasts."""
    try:
        yield Installed(place)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def psql() -> str | None:
    """Return the real psql: Debian's /usr/bin/psql is a program in Perl that looks for it, and takes twice as long."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/psql"), key=lambda path: float(path.parents[1].name))
    return str(found[-1]) if found else shutil.which("psql")


def there(program: str) -> str | None:
    """Return where a peer is, None if it is not installed."""
    return shutil.which(program)
