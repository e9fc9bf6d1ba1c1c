"""A fleet split over hosts or pods: together they audit every target once."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connaudit.cli import recipes
from connaudit.cli.sharding import Shard
from tests.cli import connaudit

FLEET = "".join(f'[targets.t{n}]\ndsn = "postgresql://u@127.0.0.1:1/d{n}"\n' for n in range(5))


@given(count=st.integers(0, 50), of=st.integers(1, 20))
def test_every_target_is_in_one_share(count: int, of: int) -> None:
    shares = [Shard(index, of).share(range(count)) for index in range(1, of + 1)]
    assert sorted(target for share in shares for target in share) == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.fixture
def fleet(tmp_path: Path) -> str:
    path = tmp_path / "config.toml"
    path.write_text(FLEET)
    return str(path)


def names(fleet: str, *words: str, **env: str) -> list[str]:
    result = connaudit("--config", fleet, "count", "--json", "--on-unreachable", "ok", *words, env=env)
    assert result.status == 0, result
    return [target["target"] for target in result.json["targets"]]


def test_a_share_is_named_by_hand(fleet: str) -> None:
    assert names(fleet, "--shard", "1/2") == ["t0", "t2", "t4"]
    assert names(fleet, "--shard", "2/2") == ["t1", "t3"]


def test_a_pod_of_an_indexed_job_knows_its_share(fleet: str) -> None:
    assert names(fleet, JOB_COMPLETION_INDEX="0", JOB_COMPLETIONS="2") == ["t0", "t2", "t4"]
    assert names(fleet, JOB_COMPLETION_INDEX="1", JOB_COMPLETIONS="2") == ["t1", "t3"]
    assert names(fleet, "--shard", "1/5", JOB_COMPLETION_INDEX="1", JOB_COMPLETIONS="2") == ["t0"]


def test_a_share_of_nothing_is_well(fleet: str) -> None:
    assert names(fleet, "--shard", "6/6") == []
    assert connaudit("--config", fleet, "count", "--shard", "6/6").status == 0
    assert connaudit("--config", fleet, "check", "--shard", "6/6").status == 0


@pytest.mark.parametrize("text", ["0/2", "3/2", "2", "1/0", "a/b", "-1/2"])
def test_what_is_no_share_is_refused(fleet: str, text: str) -> None:
    result = connaudit("--config", fleet, "count", f"--shard={text}")
    assert (result.status, result.out) == (3, "")
    assert "is not a share" in result.err


def test_the_cron_job_gives_its_pods_all_completions_to_share() -> None:
    lines = [line.strip() for line in recipes.KUBERNETES.splitlines()]
    assert "completionMode: Indexed" in lines
    assert "completions: 10" in lines
    assert '- { name: JOB_COMPLETIONS, value: "10" }' in lines
    (args,) = [line for line in lines if line.startswith("args:")]
    words = args.removeprefix("args: [").rstrip("]").split(", ")
    assert connaudit(*words, "--help").status == 0
