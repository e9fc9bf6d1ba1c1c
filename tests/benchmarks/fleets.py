"""How long many targets take that are far away (G8, G9, G10)."""

import json
import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.benchmarks import canned
from tests.benchmarks import installed as peers
from tests.benchmarks.goals import Findings, Goal
from tests.benchmarks.installed import Installed
from tests.benchmarks.timing import Command, in_turn, median
from tests.servers import Running

ROUND_TRIP = 0.05  # seconds
TRIPS = 3  # request for TLS, login, statements; greeting, login, statements
CPU_PER_TARGET = 0.00065  # seconds: what psycopg's asynchronous connection needs
MOST = 500
DEADLINE = 2.0
ANY = (0, 1, 2, 3)


class Ports:
    """Where the servers of a fleet listen; `holes` are those of black holes."""

    def __init__(self, answering: int, holes: tuple[int, ...] = ()) -> None:
        self.answering = answering
        self.holes = holes

    def of(self, size: int) -> list[int]:
        """Return the port of each target: every twentieth is a black hole, of each kind in turn."""
        if not self.holes:
            return [self.answering] * size
        return [self.holes[n // 20 % 2] if n % 20 == 0 else self.answering for n in range(size)]


def postgresql(ours: Installed, server: Running, place: Path, found: Findings) -> None:
    """Measure many PostgreSQL servers, all well at first, and then with black holes among them."""
    with ExitStack() as stack:
        ports = stack.enter_context(_answering(ours, server, place))
        for size in (1, 10, 100, MOST, 2 * MOST):
            inside = _inside(ours, _configuration(place, "postgresql", ports.of(size)), size)
            found.targets.append((size, inside))
            if size in (100, MOST):
                _inner_goal(size, inside, found)
        file = _configuration(place, "postgresql", ports.of(MOST))
        _beside_xargs(ours, server, place, file, found)
        holes = stack.enter_context(canned.silent()), stack.enter_context(canned.dropped())
        full_of_holes = Ports(ports.answering, holes)
        _black_holes(ours, _configuration(place, "postgresql", full_of_holes.of(MOST)), found)


def mysql(ours: Installed, server: Running, place: Path, found: Findings) -> None:
    """Measure many MariaDB servers."""
    with _answering(ours, server, place) as ports:
        file = _configuration(place, "mysql", ports.of(MOST))
        inside = _inside(ours, file, MOST)
        found.goals.append(Goal("G10", f"{MOST} MariaDB targets at 50 ms, measured inside", 1.3, inside, "s"))


@contextmanager
def _answering(ours: Installed, server: Running, place: Path) -> Iterator[Ports]:
    """Answer to connaudit as this server did once."""

    def talk(port: int) -> None:
        ours.connaudit("count", "--all", CONNAUDIT_CONFIG=str(_configuration(place, server.engine, [port]))).run()

    address = f"{server.socket}/.s.PGSQL.{server.port}" if server.is_postgres else (server.host, server.port)
    kind = "postgres" if server.is_postgres else "mysql"
    with canned.replaying(kind, canned.recorded(kind, address, talk), ROUND_TRIP) as port:
        yield Ports(port)


def _configuration(place: Path, engine: str, ports: list[int]) -> Path:
    """Write a file with a target for each port."""
    more = "shop" if engine == "postgresql" else "?ssl-mode=DISABLED"
    login = "monitor" if engine == "postgresql" else "monitor:monitor-s3cr3t"
    lines = ["version = 1"]
    for number, port in enumerate(ports):
        lines += [f"[targets.t{number}]", f'dsn = "{engine}://{login}@127.0.0.1:{port}/{more}"']
    file = place / f"{engine}-{len(ports)}-{len(set(ports))}.toml"
    file.write_text("\n".join(lines), encoding="utf-8")
    file.chmod(0o600)
    return file


def _inside(ours: Installed, file: Path, size: int, lost: int = 0) -> float:
    """Return the seconds that the engine takes, so many targets being lost."""
    seconds = []
    for _ in range(5):
        told = Command(ours.python, str(Path(__file__).with_name("inside.py")), str(file), str(DEADLINE)).run().split()
        assert told[1:] == [str(size - lost), str(size)], f"of {told[2]} targets {told[1]} answered"
        seconds.append(float(told[0]))
    return median(seconds)


def _inner_goal(size: int, inside: float, found: Findings) -> None:
    ideal = max(TRIPS * ROUND_TRIP, size * CPU_PER_TARGET)
    what = f"{size} PostgreSQL targets at 50 ms, measured inside / ideal"
    found.goals.append(Goal("G8", what, 1.3, inside / ideal, beside=f"{inside:.3f} s, ideal {ideal:.3f} s"))


def _beside_xargs(ours: Installed, server: Running, place: Path, file: Path, found: Findings) -> None:
    """Compare whole processes with what a shell can do."""
    psql = peers.psql()
    if psql is None:
        return
    words = f"{psql} -XAtc 'select 1' 'host=127.0.0.1 port={{}} user=monitor dbname=shop'"

    def talk(port: int) -> None:
        Command("sh", "-c", words.replace("{}", str(port))).run()

    answers = canned.recorded("postgres", f"{server.socket}/.s.PGSQL.{server.port}", talk)
    with canned.replaying("postgres", answers, ROUND_TRIP) as port:
        listed = place / "ports"
        listed.write_text(f"{port}\n" * MOST, encoding="ascii")
        line = f"xargs -P64 -I{{}} {words} < {shlex.quote(str(listed))}"
        commands = {
            "xargs -P64 psql": Command("sh", "-c", line),
            "connaudit": ours.connaudit("count", "--all", CONNAUDIT_CONFIG=str(file)),
        }
        timing = in_turn(commands, 5)
    ratio, beside = timing.ratio("connaudit", "xargs -P64 psql"), timing.beside("xargs -P64 psql", "connaudit")
    what = f"{MOST} PostgreSQL targets at 50 ms, whole process / `xargs -P64 psql`"
    found.goals.append(Goal("G8", what, 0.35, ratio, beside=beside))


def _black_holes(ours: Installed, file: Path, found: Findings) -> None:
    words = ("count", "--all", "--timeout", f"{DEADLINE:.0f}s", "--json")
    told = Command(*ours.connaudit(*words).words, expected=ANY, CONNAUDIT_CONFIG=str(file)).run()
    reported = json.loads(told[: told.rindex("}") + 1])["targets"]
    assert len(reported) == MOST, f"{len(reported)} of {MOST} targets are reported"
    inside = _inside(ours, file, MOST, MOST // 20)
    what = f"{MOST} PostgreSQL targets at 50 ms, 5 % black holes, `--timeout 2s`: measured inside"
    found.goals.append(Goal("G9", what, DEADLINE + 0.15, inside, "s", f"all {MOST} are reported"))
