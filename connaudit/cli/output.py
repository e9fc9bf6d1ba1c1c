"""Where text leaves the process: stdout or a file, scrubbed of secrets, whole or not at all."""

import contextlib
import os
import re
import signal
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, TextIO

from connaudit.cli.signals import Interrupted
from connaudit.errors import OutputError

if TYPE_CHECKING:
    from connaudit.targets import Target

LEAST_SECRET = 5  # characters; a shorter one would be found in half of all words
LONGEST_WORD = 16  # characters of what may be a word of ours


def carries_unicode(environment: Mapping[str, str], stream: TextIO | None) -> bool:
    """Return whether readers of a stream expect UTF-8: its encoding and the locale both say so.

    Python runs in UTF-8 mode under LANG=C, where a mail or a terminal would still show mojibake.
    """
    encoding = (getattr(stream, "encoding", None) or "").lower().replace("-", "")
    locale = next((environment[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if environment.get(name)), "")
    return encoding == "utf8" and "utf8" in locale.lower().replace("-", "")


def terminal_width(environment: Mapping[str, str], stream: TextIO | None) -> int | None:
    """Return the columns of the terminal that a stream is; None if it is none."""
    if stream is None or not stream.isatty():
        return None
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        columns = 0
    told = environment.get("COLUMNS", "")
    return columns or (int(told) if told.isascii() and told.isdigit() else 0) or 80


def scrubbed(text: str, public: Iterable[str] = ()) -> str:
    """Return text in which every known secret, plain or percent-encoded, is `***`: the last thing before a write.

    A password that is also somebody's name (`public`) hides nothing by being cut out of a table. One that is a plain
    word or number is cut out only where a password stands: it may be a key or a number of ours, too.
    """
    from connaudit.targets import Secret

    open_words = set(public)
    for secret in Secret.known:
        value = secret.reveal()
        if len(value) < LEAST_SECRET or value in open_words:
            continue
        if not _is_plain(value):
            for form in {value, _percent_encoded(value)}:
                text = text.replace(form, "***")
        elif value in text:
            text = re.sub(rf"(?<=:){value}(?=@)|(?<=password=){value}\b", "***", text)
    return text


def _is_plain(secret: str) -> bool:
    """Return whether a secret may be a word that we write ourselves, or a number."""
    return len(secret) < LONGEST_WORD and secret.isascii() and (secret.isdigit() or secret.replace("_", "").isalpha())


def public_words(targets: "Iterable[Target]") -> set[str]:
    """Return the names that stand in reports by right: roles, databases, hosts."""
    return {
        word
        for target in targets
        for word in (target.user, target.database, *(host.name for host in target.hosts))
        if word
    }


def _percent_encoded(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")


def write(text: str, destination: str | None) -> None:
    """Write the report to stdout, or put it in place of a file at once; OutputError if it cannot be done.

    A reader who has closed the pipe has seen enough: the verdict stands, and nothing is said.
    """
    if destination not in (None, "-"):
        replace_file(text, str(destination))
        return
    if sys.stdout is None:
        raise OutputError("cannot write output: standard output is closed")
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(_encoded(text, sys.stdout))
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        _discard_stdout()
    except OSError as error:
        _discard_stdout()
        raise OutputError(f"cannot write output: {error.strerror or error}") from None


def write_aside(text: str, destination: str | None) -> None:
    """Write the report to standard error, where standard output is not for it; or to a file, as `write` does."""
    if destination not in (None, "-"):
        replace_file(text, str(destination))
    elif sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.buffer.write(_encoded(text, sys.stderr))
            sys.stderr.buffer.flush()


def stream(text: str) -> None:
    """Write what a reader waits for, at once. One who has closed the pipe ends us as it would end any filter."""
    if sys.stdout is None:
        raise OutputError("cannot write output: standard output is closed")
    try:
        sys.stdout.buffer.write(_encoded(text, sys.stdout))
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise Interrupted(signal.SIGPIPE) from None
    except OSError as error:
        _discard_stdout()
        raise OutputError(f"cannot write output: {error.strerror or error}") from None


def append(text: str, path: str, *, private: bool = False) -> None:
    """Add to a file that is opened anew each time, so that it can be renamed in between; a new one may be private."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600 if private else 0o666)
        with os.fdopen(descriptor, "ab") as file:
            file.write(text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from None


def _encoded(text: str, stream: TextIO) -> bytes:
    return text.encode(stream.encoding or "ascii", "backslashreplace")


def _discard_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's own flush at exit has nothing to complain of."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def is_stream(destination: str | None) -> bool:
    """Return whether a report goes to somebody who reads it now, rather than into a file."""
    return destination in (None, "-") or _is_special(str(destination))


def _is_special(path: str) -> bool:
    return os.path.exists(path) and not os.path.isfile(path)  # /dev/stdout, a named pipe


def write_all(chunks: Iterable[str], destination: str | None) -> None:
    """Write what is too much for one text: to stdout as it comes, or in place of a file that is for its owner alone."""
    if destination not in (None, "-"):
        _replace_file(chunks, str(destination), 0o600)
        return
    for chunk in chunks:
        stream(chunk)


def replace_file(text: str, path: str, *, private: bool = False) -> None:
    """Put text in place of a file: a reader sees the old one or the new one, never half of one.

    A `private` one is for its owner alone, whatever the umask.
    """
    _replace_file([text], path, 0o600 if private else 0o666)


def _replace_file(chunks: Iterable[str], path: str, mode: int) -> None:
    data = (chunk.encode("utf-8", "backslashreplace") for chunk in chunks)
    try:
        if _is_special(path):  # nothing to rename over
            with open(path, "wb") as special:
                special.writelines(data)
        else:
            _write_beside(data, os.path.realpath(path), mode)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from None


def _write_beside(data: Iterable[bytes], path: str, mode: int) -> None:
    """Write a new file and rename it; it is readable as the umask says, where tempfile's 0600 would hide a report."""
    beside = f"{path}.{os.getpid()}.tmp"
    with contextlib.suppress(FileNotFoundError):  # of a process of this number that was killed
        os.unlink(beside)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise


def say(message: str, public: Iterable[str] = ()) -> None:
    """Write one line on stderr; untrusted text in it can neither start a line nor colour a terminal."""
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)
    with contextlib.suppress(OSError, ValueError, AttributeError):
        stream = sys.stderr
        stream.buffer.write((scrubbed(f"connaudit: {line}", public) + "\n").encode("ascii", "backslashreplace"))
        stream.flush()
