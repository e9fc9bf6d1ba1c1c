"""Fixtures for everybody: servers that run, and roles to audit them as.

`postgres`, `mariadb` and `mysql` (MariaDB where there is no MySQL) are one shared server each. A test that asks for
`postgres_any`, `mysql_any`, `server` or `pooler` runs once on each chosen server of that family (`--servers`), and one
that asks for `unsupported` on each that is older than what connaudit promises to audit. `newest` is `server` for tests
that say nothing new on each older version: the newest release of each kind, where it was chosen.
Whatever asks for a server carries the marker `servers`.
"""

import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis.configuration import set_hypothesis_home_dir

from tests.certificates import Authority
from tests.servers import Description, Fleet, Running, ServersMissing, chosen
from tests.servers.fleet import best_backend

collect_ignore = ["attribution/shop.py"]  # a program that a test starts, and no module that holds tests
FAMILIES = {
    "postgres_any": ("postgres",),
    "mysql_any": ("mysql", "mariadb"),
    "server": ("postgres", "mysql", "mariadb"),
    "pooler": ("pgbouncer",),
    "newest": ("postgres", "mysql", "mariadb"),
    "unsupported": ("postgres", "mysql", "mariadb"),
}
ONE = {"postgres": ("postgres",), "mariadb": ("mariadb",), "mysql": ("mysql", "mariadb")}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--servers", metavar="NAMES", help="servers to test on: names, kinds or `all`; default: the newest of each kind"
    )
    parser.addoption(
        "--once", action="store_true", help="leave out what says nothing of a version, but on the newest of each kind"
    )


CHOSEN = pytest.StashKey[list[Description]]()


def heed_signals() -> None:
    """Heed what a shell made us ignore by starting us in the background: our children would ignore it, too."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


def pytest_configure(config: pytest.Config) -> None:
    heed_signals()
    config.addinivalue_line("markers", "servers: asks for a real database server")
    config.addinivalue_line(
        "markers", "kinds(*names, since, before): is about servers of these kinds and versions; is not made for others"
    )
    set_hypothesis_home_dir(Path(sys.prefix) / "hypothesis")  # and nothing into the tree
    try:
        config.stash[CHOSEN] = chosen(config.getoption("--servers"))
    except ServersMissing as missing:
        raise pytest.UsageError(str(missing)) from None


def pytest_report_header(config: pytest.Config) -> str:
    return "servers: " + ", ".join(one.name for one in config.stash[CHOSEN])


def serving(config: pytest.Config, fixture: str) -> list[Description]:
    """Return the chosen servers that a fixture stands for."""
    kinds, supported = (FAMILIES | ONE)[fixture], fixture != "unsupported"
    found = [one for one in config.stash[CHOSEN] if one.kind in kinds and one.supported == supported]
    if fixture == "newest" or (fixture in ONE and config.getoption("--once")):
        return [one for one in found if one in chosen(None)]
    return found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for name in FAMILIES:
        if name in metafunc.fixturenames:
            found = serving(metafunc.config, name)
            metafunc.parametrize(name, found, indirect=True, ids=[one.name for one in found], scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, and count as deselected, the tests whose kind of server was not chosen."""
    items[:] = [item for item in items if _makes_sense(item)]
    absent = {name for name in FAMILIES | ONE if not serving(config, name)}
    out = []
    for item in items:
        asked = set(getattr(item, "fixturenames", ())).intersection(FAMILIES | ONE)
        if asked:
            item.add_marker("servers")
        if asked & absent:
            out.append(item)
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in out]


def _makes_sense(item: pytest.Item) -> bool:
    """Whether a test is about the kind of server that it was made for."""
    marker = item.get_closest_marker("kinds")
    if marker is None or not isinstance(item, pytest.Function) or not hasattr(item, "callspec"):
        return True
    servers = [one for one in item.callspec.params.values() if isinstance(one, Description)]
    return any(_is_about(marker, best_backend() if one.kind == "pgbouncer" else one) for one in servers)


def _is_about(marker: pytest.Mark, server: Description) -> bool:
    since, before = marker.kwargs.get("since", (0,)), marker.kwargs.get("before", (999,))
    return server.kind in marker.args and since <= server.version < before


@pytest.fixture(scope="session")
def fleet() -> Iterator[Fleet]:
    with Fleet() as fleet:
        yield fleet


@pytest.fixture(scope="session")
def authority(fleet: Fleet) -> Authority:
    """Whom servers with certificates have them from; the files are where servers may read them."""
    place = fleet.top / "certificates"
    place.mkdir()
    place.chmod(0o755)
    return Authority(place)


def _any(request: pytest.FixtureRequest, fleet: Fleet) -> Running:
    return fleet.shared(request.param)


postgres_any = pytest.fixture(scope="session", name="postgres_any")(_any)
mysql_any = pytest.fixture(scope="session", name="mysql_any")(_any)
server = pytest.fixture(scope="session", name="server")(_any)
newest = pytest.fixture(scope="session", name="newest")(_any)
pooler = pytest.fixture(scope="session", name="pooler")(_any)
unsupported = pytest.fixture(scope="session", name="unsupported")(_any)


@pytest.fixture
def postgres(fleet: Fleet, pytestconfig: pytest.Config) -> Running:
    """The newest chosen PostgreSQL."""
    return fleet.shared(serving(pytestconfig, "postgres")[-1])


@pytest.fixture
def mariadb(fleet: Fleet, pytestconfig: pytest.Config) -> Running:
    """The newest chosen MariaDB."""
    return fleet.shared(serving(pytestconfig, "mariadb")[-1])


@pytest.fixture
def mysql(fleet: Fleet, pytestconfig: pytest.Config) -> Running:
    """The newest chosen MySQL; MariaDB where there is none."""
    return fleet.shared(serving(pytestconfig, "mysql")[0])


@pytest.fixture(params=["monitor", "plain"])
def auditor(request: pytest.FixtureRequest) -> str:
    """The role to audit as: one that may see everything, and one that was granted nothing."""
    name: str = request.param
    return name


Start = Callable[..., Running]


@pytest.fixture
def start(fleet: Fleet) -> Iterator[Start]:
    """Start a server of one's own, like a shared one but with other settings; it ends with the test.

    full = start(postgres, max_connections=20); east = start(mysql, environment={"TZ": "Asia/Tokyo"})
    """
    with ExitStack() as stack:

        def start(
            like: Running,
            environment: Mapping[str, str] | None = None,
            backend: Running | None = None,
            data: Path | None = None,
            **settings: str | int,
        ) -> Running:
            server = fleet.start(like.description, settings, environment, backend, data)
            stack.callback(fleet.stop, server)
            return server

        yield start


def ending_lines(endings: Iterable[str]) -> list[str]:
    """Return a table of what was recorded as `fault|server|exit status|kind and stage|seconds`, each once."""
    rows = [("FAULT", "SERVER", "EXIT", "TOLD AS", "SECONDS"), *(one.split("|") for one in dict.fromkeys(endings))]
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Tell how long each ending of an audit took, as tests/test_endings.py recorded them."""
    told = (getattr(report, "user_properties", ()) for found in terminalreporter.stats.values() for report in found)
    endings = [value for properties in told for name, value in properties if name == "ending"]
    if endings:
        terminalreporter.section("seconds to the end of an audit")
        for line in ending_lines(endings):
            terminalreporter.write_line(line)
