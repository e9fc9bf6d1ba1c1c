"""From a target to a connection: its names resolved, its options as libpq's keywords, no address awaited for ever."""

import re
import time
from collections.abc import Callable
from pathlib import PurePath

from connaudit.dataclass import dataclass
from connaudit.engines.postgresql import failures
from connaudit.engines.postgresql.loop import Name, Steps, Wait
from connaudit.engines.postgresql.wire import ConnectFailed, Connection
from connaudit.errors import NameUnknown, TimedOut
from connaudit.targets import Host, Secret, Target

_SOCKET_FILE = re.compile(r"\.s\.PGSQL\.(\d+)")


@dataclass(frozen=True, slots=True)
class Place:
    """One address for libpq to try: its name is for certificates and password files."""

    host: str
    address: str = ""
    port: str = ""


@dataclass(frozen=True, slots=True)
class Caller:
    """What a conversation needs of the run around it: lookups, its own end, and who takes farewells."""

    look_up: Callable[[str], Name]
    leave: Callable[[Steps[None]], None]
    began: float
    until: float

    def timed_out(self, stage: str, hint: str | None = None) -> TimedOut:
        """Return the error for a conversation whose time is up."""
        elapsed = min(time.monotonic(), self.until) - self.began
        return TimedOut(f"timed out after {elapsed:.1f}s during {stage}", stage=stage, hint=hint)


def places(target: Target, caller: Caller) -> Steps[tuple[Place, ...]]:
    """Return every address of the target's hosts; a name that has none matters only if no other has."""
    names = {host.name: caller.look_up(host.name) for host in target.hosts if not host.is_socket and not host.address}
    for name in names.values():
        while not name.done:
            if not (yield Wait(caller.until, name=name)) and not name.done:
                raise caller.timed_out("dns", f"the lookup of {name.text} hangs: is the name server reachable?")
    found = tuple(place for host in target.hosts for place in _places(host, names))
    if target.hosts and not found:
        text = ", ".join(f"{name.text}: {name.error}" for name in names.values())
        raise NameUnknown(f"host name has no address: {text}", stage="dns", hint="check the spelling, or your DNS")
    return found


def _places(host: Host, names: dict[str, Name]) -> list[Place]:
    port = str(host.port or "")
    if host.is_socket:
        file = _SOCKET_FILE.fullmatch(PurePath(host.name).name)
        if file:
            return [Place(str(PurePath(host.name).parent), "", file[1])]
        return [Place(host.name, "", port)]
    addresses = (host.address,) if host.address else names[host.name].addresses
    return [Place(host.name, address, port) for address in addresses]


def connect(target: Target, found: tuple[Place, ...], caller: Caller) -> Steps[Connection]:
    """Return an open connection; a failure is a TargetError.

    libpq itself goes from address to address, but waits at a deaf one for ever. So each gets its share of the time;
    one that lets it pass is left out, and the rest is tried again.
    """
    left = list(found)
    while True:
        connection = Connection(conninfo(target, tuple(left)))
        connected = False
        share = (caller.until - time.monotonic()) / max(1, len(left))
        try:
            connected = yield from connection.connect(time.monotonic() + share)
        except ConnectFailed as error:
            raise failures.of_connect(error.text, connection.stage, target) from None
        finally:
            if not connected:
                deaf = connection.where
                connection.close(caller.leave)
        if connected:
            return connection
        if len(left) < 2 or time.monotonic() >= caller.until:
            raise caller.timed_out(connection.stage, failures.hint_for_silence(connection.stage))
        left = [place for place in left if (place.host, place.address) != deaf[:2]] or left[1:]


def conninfo(target: Target, found: tuple[Place, ...]) -> str:
    """Return the keywords for libpq, quoted.

    What nobody gave is left to libpq and its environment, but for what must agree with our own lists of hosts.
    """
    keywords = {key: _plain(value) for key, value in target.options}
    if found:
        keywords["host"] = ",".join(place.host for place in found)
        keywords["hostaddr"] = ",".join(place.address for place in found)  # empty ones keep $PGHOSTADDR away
        if any(place.port for place in found):
            keywords["port"] = ",".join(place.port for place in found)
    if target.user is not None:
        keywords["user"] = target.user
    if target.database is not None:
        keywords["dbname"] = target.database
    if target.password is not None:
        keywords["password"] = target.password.reveal()
    # Texts come as they were stored, in many encodings; SQL_ASCII makes the server convert none of them.
    keywords |= {"application_name": "connaudit", "client_encoding": "SQL_ASCII"}
    return " ".join(f"{key}={_quoted(value)}" for key, value in keywords.items())


def _plain(value: str | Secret) -> str:
    return value.reveal() if isinstance(value, Secret) else value


def _quoted(value: str) -> str:
    r"""Return a value as conninfo strings want it.

    >>> print(_quoted(r"it's\so"))
    'it\'s\\so'
    """
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
