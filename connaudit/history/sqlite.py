"""The history in one SQLite file, written by any number of processes at once."""

import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from connaudit.errors import HistoryError, NoHistory
from connaudit.history.database import SCHEMA, Result, Row, Work

BUSY = 5.0  # seconds that SQLite itself waits for another's lock ...
ATTEMPTS = 4  # ... so often: many writers that come at once are served in no order
APPLICATION = 0x636F6E6E  # "conn", in the file's header: what a history is known by
# Locks and shared memory do not work over a network as WAL needs them.
REMOTE = (
    *("nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "9p", "virtiofs", "fuse.sshfs", "fuse.glusterfs", "glusterfs"),
    *("ceph", "lustre", "afs", "gpfs", "ocfs2", "gfs2"),
)

MIGRATIONS = (
    """
create table run (ts integer primary key, targets integer not null, answered integer not null);
create table target (id integer primary key, name text not null unique, engine text, product text,
    version text, address text);
create table grp (id integer primary key, name text not null unique, target integer not null, db text, "user" text,
    app text, client text, state text);
create index grp_target on grp (target);
create table sample (ts integer not null, grp integer not null, n integer not null, oldest_s integer,
    primary key (ts, grp)) without rowid;
create table target_sample (target integer not null, ts integer not null, up integer not null, error text,
    used integer, usable integer, started integer, primary key (target, ts)) without rowid;
create table hourly (grp integer not null, ts integer not null, min integer not null, p10 integer not null,
    avg real not null, max integer not null, primary key (grp, ts)) without rowid;
create table target_hourly (target integer not null, ts integer not null, min integer not null, p10 integer not null,
    avg real not null, max integer not null, usable integer, started integer, samples integer not null,
    primary key (target, ts)) without rowid;
create table alert_state (target text not null, check_name text not null, verdict text not null,
    since integer not null, spoken integer not null, primary key (target, check_name)) without rowid;
create table mark (name text primary key, value integer not null) without rowid;
""",
)


class Transaction:
    """The work of one transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def run(self, statement: str, values: Sequence[Any] = ()) -> int:
        """Execute a statement, and return how many rows it changed."""
        return self._connection.execute(statement, values).rowcount

    def run_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Execute a statement for each row."""
        self._connection.executemany(statement, rows)

    def rows(self, statement: str, values: Sequence[Any] = ()) -> Iterator[Row]:
        """Yield what a query finds."""
        return iter(self._connection.execute(statement, values))


class File:
    """A history in a file."""

    def __init__(self, path: Path, *, create: bool, seconds: float | None = None) -> None:
        self.place = str(path)
        busy = BUSY if seconds is None else min(BUSY, seconds / ATTEMPTS)
        with self._failures():
            _prepare(path, create=create)
            sealed = not create and _is_sealed(path)
            where = f"file:{quote(str(path))}?mode=ro&immutable=1" if sealed else path
            self._connection = sqlite3.connect(where, uri=sealed, timeout=busy, isolation_level=None)
            try:
                self._refuse_strangers()
                if sealed:
                    self._expect_tables(path)
                else:
                    self._set_up(path)
            except BaseException:
                self._connection.close()
                raise

    def _set_up(self, path: Path) -> None:
        """Make a new file ours, and an old one new."""
        self._connection.execute("pragma auto_vacuum = incremental")  # heard only while the file is empty
        self._journal("delete" if is_remote(path) else "wal")
        if self._number("user_version") < SCHEMA:
            self.write(lambda _: self._migrate())

    def _expect_tables(self, path: Path) -> None:
        """Raise NoHistory for a file that nobody has begun."""
        if not self._number("user_version"):
            raise _none(path)

    def _number(self, name: str) -> int:
        return int(self._connection.execute(f"pragma {name}").fetchone()[0])

    def _refuse_strangers(self) -> None:
        """Raise HistoryError for a file that is not ours, or of a newer connaudit; neither is ever touched."""
        self._connection.execute("begin")  # one look: another process may be making the file ours just now
        version, application = self._number("user_version"), self._number("application_id")
        used = self._connection.execute("select count(*) from sqlite_master").fetchone()[0]
        self._connection.execute("commit")
        if version > SCHEMA and application == APPLICATION:
            raise HistoryError(
                f"{self.place} was written by a newer connaudit (schema {version}, this one knows {SCHEMA})",
                hint="upgrade connaudit, or name another file",
            )
        if application != APPLICATION and (version or application or used):
            raise HistoryError(f"{self.place} is a database of another program", hint="name another file")

    def _journal(self, mode: str) -> None:
        """Set the journal's mode, again and again: it needs the file for itself, and its lock does not wait."""
        for attempt in range(100):
            try:
                if self._connection.execute("pragma journal_mode").fetchone()[0] != mode:
                    self._connection.execute(f"pragma journal_mode = {mode}").fetchone()
            except sqlite3.OperationalError as error:
                if not _is_busy(error) or attempt == 99:
                    raise
                time.sleep(0.02)
            else:
                return

    def _migrate(self) -> None:
        """Bring the tables up to date, inside the transaction that has the lock: others may have done it meanwhile."""
        version = self._number("user_version")
        for script in MIGRATIONS[version:]:
            for statement in script.split(";"):  # executescript would commit first
                self._connection.execute(statement)
        self._connection.execute(f"pragma application_id = {APPLICATION}")
        self._connection.execute(f"pragma user_version = {max(SCHEMA, version)}")

    def write(self, work: Callable[[Work], Result]) -> Result:
        """Return what `work` does in one transaction; BEGIN IMMEDIATE takes the lock before anything was read."""
        with self._failures():
            self._begin()
            return self._finished(work)

    def read(self, work: Callable[[Work], Result]) -> Result:
        """Return what `work` finds, of one moment."""
        with self._failures():
            self._connection.execute("begin")
            return self._finished(work)

    def _begin(self) -> None:
        for attempt in range(ATTEMPTS):
            try:
                self._connection.execute("begin immediate")
            except sqlite3.OperationalError as error:
                if not _is_busy(error) or attempt == ATTEMPTS - 1:
                    raise
            else:
                return

    def _finished(self, work: Callable[[Work], Result]) -> Result:
        try:
            result = work(Transaction(self._connection))
            self._connection.execute("commit")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("rollback")
            raise
        return result

    def tidy(self) -> None:
        """Give at most 40 MB back to the file system."""
        with self._failures():  # by executescript, which goes on to the end: execute frees a single page
            self._connection.executescript("pragma incremental_vacuum(10000)")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Translate what SQLite and the file system raise."""
        try:
            yield
        except sqlite3.Error as error:
            raise HistoryError(_words(error, self.place), hint=_hint(error)) from None
        except OSError as error:
            raise HistoryError(f"{self.place}: {error.strerror}") from None


def _prepare(path: Path, *, create: bool) -> None:
    """Make the directory and the file, for their owner alone: names of applications and clients are personal data."""
    if not create:
        if not path.exists():
            raise _none(path)
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def _none(path: Path) -> NoHistory:
    return NoHistory(f"{path}: there is no history yet", hint="connaudit record begins one")


def _is_sealed(path: Path) -> bool:
    """Return whether a history can be read and nobody writes it: a copy, or one on a read-only file system.

    What was written last may lie in a file beside it, which cannot be taken in where nothing may be written.
    """
    beside = path.with_name(f"{path.name}-wal")
    is_whole = not beside.exists() or not beside.stat().st_size
    return is_whole and os.access(path, os.R_OK) and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK))


def _is_busy(error: sqlite3.Error) -> bool:
    return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _words(error: sqlite3.Error, place: str) -> str:
    if (
        isinstance(error, sqlite3.DatabaseError)
        and getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_NOTADB
    ):
        return f"{place} is not a SQLite database"
    return f"{place}: {error}"


def _hint(error: sqlite3.Error) -> str | None:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return {
        sqlite3.SQLITE_BUSY: "another process holds its lock: is one stopped in the midst of writing?",
        sqlite3.SQLITE_NOTADB: "name another file; this one is left as it is",
        sqlite3.SQLITE_CORRUPT: "move it away to begin anew; it is left as it is",
        sqlite3.SQLITE_FULL: "no room on its file system",
        sqlite3.SQLITE_READONLY: "the file or its directory may not be written",
    }.get(code)


def is_remote(path: Path, mounts: Path = Path("/proc/self/mounts")) -> bool:
    """Return whether a path lies on a file system of another machine, as far as this one tells: Linux does."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return False
    whole = os.path.realpath(path)
    kinds = {_unescaped(words[1]): words[2] for words in map(str.split, lines) if len(words) > 2}
    above = [place for place in kinds if whole == place or whole.startswith(place.rstrip("/") + "/")]
    return bool(above) and kinds[max(above, key=len)] in REMOTE


def _unescaped(place: str) -> str:
    r"""Return a mount point as it is.

    >>> _unescaped(r"/mnt/my\040files")
    '/mnt/my files'
    """
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        place = place.replace(code, character)
    return place
