"""connaudit as a process of its own, without what a start costs: for tests that ask it hundreds of times.

`Door.audit` does what `tests.cli.audit` does. A process that has imported everything forks for each call, so that the
call has its own arguments, environment, streams, threads and exit status; only the imports are shared.

    python -m tests.door     reads calls as lines of JSON, and answers each with a line: its exit status
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

from tests.cli import Result, environment
from tests.servers import Role, Running

TOP = Path(__file__).parents[1]
IMPORTED = (
    "connaudit.cli.main",
    "connaudit.cli.commands",
    "connaudit.cli.auditing",
    "connaudit.engines.postgresql",
    "connaudit.engines.mysql",
    "connaudit.render.json",
)


class Door:
    """Lets calls in, one after the other."""

    def __init__(self) -> None:
        self._place = Path(tempfile.mkdtemp(prefix="connaudit-door-"))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.door"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
            cwd=TOP,
        )

    def call(self, *words: str, env: Mapping[str, str | None] | None = None) -> Result:
        """Run it with these arguments, and wait for its end; `env` is as in `tests.cli.connaudit`."""
        assert self._process.stdin
        assert self._process.stdout
        out, err = self._place / "out", self._place / "err"
        began = time.monotonic()
        call = {"words": words, "env": environment(env), "out": str(out), "err": str(err)}
        print(json.dumps(call), file=self._process.stdin, flush=True)
        status = int(self._process.stdout.readline())
        return Result(status, out.read_text("utf-8"), err.read_text("utf-8"), time.monotonic() - began)

    def audit(self, command: str, server: Running, *words: str, role: Role | None = None, **url: Any) -> Result:
        """Run one command on a server, as the monitoring role unless given; `url` is for `Running.url`."""
        return self.call(command, "env:AUDITED", *words, env={"AUDITED": server.url(role, **url)})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._process.communicate()
        for path in self._place.iterdir():
            path.unlink()
        self._place.rmdir()


def serve() -> None:
    """Fork for each line, until there are no more."""
    for name in IMPORTED:
        import_module(name)
    for line in sys.stdin:
        call = json.loads(line)
        child = os.fork()
        if not child:
            become(call)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def become(call: Mapping[str, Any]) -> NoReturn:
    """Be that call of connaudit."""
    from connaudit.cli.main import main

    for descriptor, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, call["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        (2, call["err"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    ):
        os.dup2(os.open(path, flags, 0o600), descriptor)
    os.environ.clear()
    os.environ.update(call["env"])
    status: Any = 1
    try:
        main(call["words"])
    except SystemExit as end:
        status = end.code
    except BaseException:  # noqa: BLE001 - the interpreter would print it, but this process is to end here
        traceback.print_exc()
    sys.stdout.flush()
    os._exit(status if isinstance(status, int) else 1)


if __name__ == "__main__":
    serve()
