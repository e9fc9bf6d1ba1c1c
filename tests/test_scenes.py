"""Every scene on every server, through the front door: as a monitor, as a role without grants, and through poolers."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pytest

from tests.conftest import Start
from tests.door import Door
from tests.scenes import SCENES, Expectation, Play, Scene, Told, prepared
from tests.servers import Running

Row = dict[str, Any]
PATIENCE = 15.0  # seconds in which a scene must be seen as it is
PERIOD = 0.3  # InnoDB's tables renew only when nobody asks for 0.1 s
OPTIONS = {
    "count": ("--by", "app,user"),
    "idle-tx": ("--min-age", "0s", "--sql", "raw"),
    "long-queries": ("--min-age", "0s", "--sql", "raw"),
    "blocking": ("--sql", "raw"),
}
# What needs no grants: how many there are, and on PostgreSQL who waits for whom.
TOLD_TO_ALL = {"postgres": ("count", "blocking"), "mysql": ("count",)}
SAME_FOR_A_SESSION = [
    scene
    for scene in SCENES
    if scene.name in ("a-writer-idle-in-transaction", "a-long-query", "a-chain-of-transactions")
]


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    with Door() as door:
        yield door


@pytest.fixture
def stage(scene: Scene, server: Running, start: Start) -> Running:
    """A server with a table to play on; one of its own where the scene wants other settings."""
    if scene.own:
        return prepared(start(server, environment=scene.environment, **scene.settings))
    return prepared(server)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.function in (test_scene, test_scene_through_a_pooler):
        pooled = "pooler" in metafunc.fixturenames
        played = [
            pytest.param(
                scene, id=scene.name, marks=pytest.mark.kinds(*scene.kinds, since=scene.since, before=scene.before)
            )
            for scene in SCENES
            if not (pooled and scene.own)
        ]
        metafunc.parametrize("scene", played)


def differences(expected: Sequence[Expectation], play: Play, door: Door, target: Running) -> list[str]:
    """Return what the commands say otherwise, each asked once."""
    found: list[str] = []
    for command in sorted({one.command for one in expected}):
        report = asked(command, play, door, target)
        found += [wrong for one in expected if one.command == command for wrong in one.differences(report)]
    return found


def asked(command: str, play: Play, door: Door, target: Running) -> Row:
    """Return what one command says of a target; its exit status and its silence must agree with that."""
    result = door.audit(command, target, "--json", *OPTIONS[command], role=play.auditor, **play.by)
    (report,) = result.json["targets"]
    assert result.status == ("ok", "warning", "critical", "unknown").index(report["status"])
    assert bool(result.err) == (report["status"] == "unknown"), result.err
    return dict(report)


def must_show(expected: Sequence[Expectation], play: Play, door: Door, target: Running) -> None:
    """Ask until all is as expected."""
    deadline = time.monotonic() + PATIENCE
    while wrong := differences(expected, play, door, target):
        assert time.monotonic() < deadline, "\n".join(wrong)
        time.sleep(PERIOD)


def must_not_contradict(expected: Sequence[Expectation], play: Play, door: Door, target: Running) -> None:
    """Ask once as a role without grants: what it is told must be true, and what it is not told must be no OK."""
    play.auditor = target.plain
    others = (asked("count", play, door, target)["summary"] or {}).get("used")
    for command in sorted({one.command for one in expected}):
        report = asked(command, play, door, target)
        wrong = [wrong for one in expected if one.command == command for wrong in one.contradictions(report)]
        assert not wrong, "\n".join(wrong)
        assert report["status"] != "ok" or not others or command in TOLD_TO_ALL[target.description.family]


def test_scene(scene: Scene, stage: Running, door: Door) -> None:
    with ExitStack() as sessions:
        play = Play(stage, sessions)
        expected = scene.play(play)
        must_show(expected, play, door, stage)
        if play.auditor == stage.monitor:
            must_not_contradict(expected, play, door, stage)


def test_scene_through_a_pooler(scene: Scene, pooler: Running, door: Door) -> None:
    assert pooler.backend
    with ExitStack() as sessions:
        play = Play(prepared(pooler.backend), sessions)
        # Not the sums: the pooler has sessions of its own.
        expected = [one for one in scene.play(play) if not isinstance(one, Told)]
        must_show(expected, play, door, pooler)


@pytest.mark.parametrize("scene", SAME_FOR_A_SESSION, ids=lambda scene: scene.name)
def test_scene_through_a_pooler_that_lends_for_a_session(
    scene: Scene, pooler: Running, start: Start, door: Door
) -> None:
    test_scene_through_a_pooler(scene, start(pooler, backend=pooler.backend, pool_mode="session"), door)


@pytest.mark.parametrize("command", OPTIONS)
def test_an_unsupported_server_is_refused_in_one_sentence(command: str, unsupported: Running, door: Door) -> None:
    result = door.audit(command, unsupported, role=unsupported.superuser)
    assert result.status == 3
    assert result.err.count("\n") == 1
    assert unsupported.description.name.partition("-")[2] in result.err
    assert "[protocol]" in result.err
