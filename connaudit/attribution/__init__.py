"""From a session to the code that holds it: what its statements, and the process at its other end, give away.

Nothing here connects to a database. What is read of processes on this host is bounded in time, and what may not be
read is said. Each answer has its `Confidence`: what is a guess is called one.
"""

from enum import IntEnum


class Confidence(IntEnum):
    """How sure it is that this code, thread or process holds the session; the first is the surest."""

    THREAD = 1  # the session's own SQL holds the thread's number, and the thread was found by it
    TAGS = 2  # a comment in the statement names the code
    ONLY_THREAD = 3  # the one thread of the process in code of the application
    PROCESS = 4  # the socket's owner
    PROCESS_TOLD = 5  # the client gave its process number at login; it may have forked since
    APPLICATION = 6  # what the client calls itself
    HOST = 7  # where it comes from

    @property
    def words(self) -> str:
        """Return it for people."""
        return _WORDS[self]


_WORDS = {
    Confidence.THREAD: "exact: the session's SQL names the thread",
    Confidence.TAGS: "a comment in the statement",
    Confidence.ONLY_THREAD: "a guess: the only thread in code of the application",
    Confidence.PROCESS: "seen: it owns the socket",
    Confidence.PROCESS_TOLD: "the client, at login; it may have forked since",
    Confidence.APPLICATION: "the client, at login",
    Confidence.HOST: "the server",
}
