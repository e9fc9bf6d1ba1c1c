"""A fleet in one run: two hundred targets, ten of them dead in two ways, all told of in their order and in time."""

import socket
from contextlib import ExitStack

from tests.cli import connaudit
from tests.conftest import Start
from tests.faults import refused_port
from tests.servers import Running

SIZE, EVERY = 200, 20  # every twentieth target is dead


def test_dead_targets_delay_and_spoil_no_other(postgres: Running, start: Start) -> None:
    server = start(postgres, max_connections=260)
    with ExitStack() as stack:
        closed = stack.enter_context(refused_port())
        deaf = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=64)).getsockname()[1]
        urls = [server.url()] * SIZE
        for place in range(0, SIZE, EVERY):
            urls[place] = server.url(port=closed if place % (2 * EVERY) else deaf)
        words = ["count", "--json", "--timeout", "8s", "--deadline", "20s"]
        result = connaudit(*words, env={"CONNAUDIT_TARGET": "\n".join(urls)})
    targets = result.json["targets"]
    assert len(targets) == SIZE
    kinds = [target["error"]["kind"] if target["error"] else None for target in targets]
    assert kinds == [
        None if place % EVERY else "refused" if place % (2 * EVERY) else "timeout" for place in range(SIZE)
    ], kinds
    assert (result.status, result.err.count("\n")) == (3, SIZE // EVERY), result.err
    assert result.seconds < 30, "the deadline of the run does not hold"
