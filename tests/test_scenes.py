"""Every scene on every server, through the front door."""

import time
from contextlib import ExitStack

import pytest

from tests.cli import audit
from tests.scenes import SCENES, TABLE, Expectation, Play, Scene, Told
from tests.servers import Running

PATIENCE = 15.0  # seconds in which a scene must be seen as it is
PERIOD = 0.3  # InnoDB's tables renew only when nobody asks for 0.1 s
OPTIONS = {
    "count": (),
    "idle-tx": ("--min-age", "0s"),
    "long-queries": ("--min-age", "0s"),
}


@pytest.fixture
def stage(server: Running) -> Running:
    """A server with a table to play on."""
    return prepared(server)


def prepared(server: Running) -> Running:
    """Return the same server, with the table."""
    with server.session(server.app) as client:
        client.do(f"create table if not exists {TABLE} (id int primary key, n int)")
        if client.do(f"select count(*) from {TABLE}") == [(0,)]:
            client.do(f"insert into {TABLE} values {', '.join(f'({number}, 0)' for number in range(1, 10))}")
    return server


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "scene" in metafunc.fixturenames:
        played = [
            pytest.param(scene, marks=pytest.mark.kinds(*kinds), id=scene.__name__.replace("_", "-"))
            for scene, kinds in SCENES
        ]
        metafunc.parametrize("scene", played)


def differences(expected: list[Expectation], target: Running) -> list[str]:
    """Return what the commands say otherwise, each asked once."""
    found: list[str] = []
    for command in sorted({one.command for one in expected}):
        result = audit(command, target, "--json", *OPTIONS[command])
        assert result.err == ""
        (report,) = result.json["targets"]
        for one in expected:
            if one.command == command:
                found += one.differences(report)
    return found


def must_show(expected: list[Expectation], target: Running) -> None:
    """Ask until all is as expected."""
    deadline = time.monotonic() + PATIENCE
    while wrong := differences(expected, target):
        assert time.monotonic() < deadline, "\n".join(wrong)
        time.sleep(PERIOD)


def test_scene(scene: Scene, stage: Running) -> None:
    with ExitStack() as sessions:
        must_show(scene(Play(stage, sessions)), stage)


def test_scene_through_a_pooler(scene: Scene, pooler: Running) -> None:
    assert pooler.backend
    with ExitStack() as sessions:
        expected = scene(Play(prepared(pooler.backend), sessions))
        # Not the sums: the pooler has sessions of its own.
        must_show([one for one in expected if not isinstance(one, Told)], pooler)


@pytest.mark.parametrize("command", OPTIONS)
def test_an_unsupported_server_is_refused_in_one_sentence(command: str, unsupported: Running) -> None:
    result = audit(command, unsupported, role=unsupported.superuser)
    assert result.status == 3
    assert result.err.count("\n") == 1
    assert unsupported.description.name.partition("-")[2] in result.err
    assert "[protocol]" in result.err


def test_a_role_without_grants_never_says_ok(stage: Running) -> None:
    with stage.session(stage.app, "begin", f"update {TABLE} set n = n + 1 where id = 9"):
        for command in ("idle-tx", "long-queries"):
            result = audit(command, stage, "--json", role=stage.plain)
            assert result.status == 3
            assert "grant" in result.err.lower()
