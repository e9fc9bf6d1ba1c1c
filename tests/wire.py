"""What a client says on the wire, as far as tests ask: its statements, and whether it went over to TLS."""

from collections.abc import Iterator

_ENCRYPTION_REQUESTS = (80877103, 80877104)  # SSLRequest, GSSENCRequest
_TLS_HANDSHAKE = b"\x16\x03"
_COM_QUERY, _COM_STMT_PREPARE = 3, 22


class PostgresTalk:
    """Reads what a PostgreSQL client sends."""

    def __init__(self) -> None:
        self.encrypted = False
        self._unread = bytearray()
        self._started = False

    def feed(self, chunk: bytes) -> list[str]:
        """Return the statements that are complete with this chunk."""
        self._unread += chunk
        return [] if self.encrypted else list(self._statements())

    def _statements(self) -> Iterator[str]:
        while not self._started:
            if self._unread.startswith(_TLS_HANDSHAKE):
                self.encrypted = True
                return
            message = self._take(0)
            if message is None:
                return
            self._started = int.from_bytes(message[:4], "big") not in _ENCRYPTION_REQUESTS
        while self._unread:
            kind = self._unread[:1]
            message = self._take(1)
            if message is None:
                return
            if kind == b"Q":
                yield message.rstrip(b"\0").decode(errors="replace")
            elif kind == b"P":
                yield message.split(b"\0")[1].decode(errors="replace")

    def _take(self, skip: int) -> bytes | None:
        """Return the next message without its length, which follows `skip` bytes; None while it is incomplete."""
        end = skip + int.from_bytes(self._unread[skip : skip + 4], "big")
        if len(self._unread) < max(end, skip + 4):
            return None
        message = bytes(self._unread[skip + 4 : end])
        del self._unread[:end]
        return message


class MysqlTalk:
    """Reads what a MySQL client sends, without compression."""

    def __init__(self) -> None:
        self.encrypted = False
        self._unread = bytearray()

    def feed(self, chunk: bytes) -> list[str]:
        """Return the statements that are complete with this chunk."""
        self._unread += chunk
        return [] if self.encrypted else list(self._statements())

    def _statements(self) -> Iterator[str]:
        while len(self._unread) >= 4:
            if self._unread.startswith(_TLS_HANDSHAKE):
                self.encrypted = True
                return
            end = 4 + int.from_bytes(self._unread[:3], "little")
            if len(self._unread) < end:
                return
            number, packet = self._unread[3], bytes(self._unread[4:end])
            del self._unread[:end]
            # Numbers begin at 0 with each command; what belongs to the login has higher ones.
            if number == 0 and packet[0] in (_COM_QUERY, _COM_STMT_PREPARE):
                yield packet[1:].decode(errors="replace")
