"""Who is audited, and with which secret.

connaudit parses what users give; drivers only ever receive keywords, so that no driver can quote a password
in an error about a malformed URL. Nobody keeps the string that a target was parsed from.
"""

from typing import ClassVar, Self

from connaudit.dataclass import dataclass
from connaudit.snapshot import Address


class Secret:
    """A value that never prints. `reveal()` is for drivers alone."""

    __slots__ = ("_value",)
    known: ClassVar[set["Secret"]] = set()  # of this process: output is searched for them before it is written

    def __init__(self, value: str) -> None:
        self._value = value
        Secret.known.add(self)

    def reveal(self) -> str:
        """Return the value itself."""
        return self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "***"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a secret is not to be copied out of the process")


@dataclass(frozen=True, slots=True)
class Host:
    """One place to try: a name or address with its port, or a Unix socket (directory or file)."""

    name: str
    port: int | None = None
    address: str | None = None  # libpq's hostaddr: connect there, verify and look up passwords by name

    @property
    def is_socket(self) -> bool:
        """Whether it is a Unix socket; `@` begins one in the abstract namespace."""
        return self.name.startswith(("/", "@"))


@dataclass(frozen=True, slots=True)
class Target:
    """One database server to audit; `name` is unique in a run."""

    name: str
    engine: str  # a key of connaudit.engines.ENGINES
    hosts: tuple[Host, ...]
    user: str | None = None  # None: the driver's own rule, the operating system's user
    database: str | None = None
    password: Secret | None = None
    password_from: str | None = None  # in words: "~/.pgpass", "file /run/creds/us"; None: none known to us
    options: tuple[tuple[str, str | Secret], ...] = ()  # further keywords of the engine: sslmode, ssl-ca
    origin: str = "argument"  # where it was named: argument, config, DATABASE_URL, PGSERVICE
    tags: tuple[str, ...] = ()
    timeout: float | None = None  # seconds for this target alone; None: the run's

    @property
    def location(self) -> Address:
        """Return where it points, without any secret: the first host stands for all."""
        host = self.hosts[0] if self.hosts else Host("")
        return Address(host.name, None if host.is_socket else host.port, self.database, self.user)

    @property
    def has_secret(self) -> bool:
        """Whether whatever named it holds a password, be it that of a key."""
        return bool(self.password) or any(isinstance(value, Secret) for _, value in self.options)

    def option(self, key: str) -> str | None:
        """Return one plain option, if it was given."""
        value = dict(self.options).get(key)
        return value.reveal() if isinstance(value, Secret) else value

    def renamed(self, name: str) -> Self:
        """Return the same target under another name."""
        from dataclasses import replace

        return replace(self, name=name)
