"""What was found out about the client's end of a session: values only, so that a report can be made of them."""

from connaudit.attribution import Confidence
from connaudit.dataclass import dataclass
from connaudit.snapshot import Process


@dataclass(frozen=True, slots=True)
class Client:
    """The process at the other end of a session; several where one connection was inherited through a fork."""

    processes: tuple[Process, ...] = ()
    confidence: Confidence | None = None  # None: no process was found
    socket: str | None = None  # 127.0.0.1:40122 -> 127.0.0.1:5432
    why_not: str | None = None  # in words, where none was found

    @property
    def is_shared(self) -> bool:
        """Whether several processes own the one socket."""
        return self.confidence is Confidence.PROCESS and len(self.processes) > 1


@dataclass(frozen=True, slots=True)
class Frame:
    """One call on a stack."""

    function: str
    file: str
    line: int

    @property
    def is_own(self) -> bool:
        """Whether it is code of the application: neither Python's own, nor an installed package or its script."""
        parts = self.file.replace("\\", "/").split("/")
        foreign = {"site-packages", "dist-packages"}.intersection(parts) or any(p.startswith("python3.") for p in parts)
        return not foreign and self.file.endswith(".py")

    def __str__(self) -> str:
        return f"{self.function} ({self.file}:{self.line})"


@dataclass(frozen=True, slots=True)
class Thread:
    """One thread of a Python process with its stack, the innermost call first."""

    process: int
    ident: int  # threading.get_ident()
    name: str
    frames: tuple[Frame, ...]


@dataclass(frozen=True, slots=True)
class Stack:
    """The stacks of a session's client. `confidence` None: nobody knows which of the threads it is."""

    threads: tuple[Thread, ...] = ()  # those that it may be
    confidence: Confidence | None = None
    why_not: str | None = None  # in words, where there is none


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that was found out besides what the server told."""

    client: Client = Client()
    stack: Stack | None = None  # None: nobody asked for it
