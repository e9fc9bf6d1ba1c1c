"""`connaudit targets`: the list, what holds for each, and whether each can be audited."""

from pathlib import Path

from tests.cli import Result, connaudit
from tests.servers import Running

FLEET = """
default_targets = ["eu"]
[targets.eu]
dsn = "postgresql://monitor@127.0.0.1:{port}/shop?sslpassword=k3y-s3cr3t"
tags = ["prod", "eu"]
[targets.us]
dsn = "mysql://monitor@127.0.0.1:1/"
password_command = ["touch", "{top}/fetched"]
tags = ["prod"]
timeout = "3s"
[targets.us.thresholds]
count = {{ warning = "50%" }}
"""


def targets(tmp_path: Path, *words: str, more: str = "", port: int = 1) -> Result:
    path = tmp_path / "fleet.toml"
    path.write_text(FLEET.format(port=port, top=tmp_path) + more)
    path.chmod(0o600)
    return connaudit("targets", *words, "--config", str(path), env={"HOME": str(tmp_path)})


def test_all_configured_targets_are_listed_and_nothing_is_fetched(tmp_path: Path) -> None:
    passfile = tmp_path / ".pgpass"
    passfile.write_text("*:*:*:monitor:file-s3cr3t\n")
    passfile.chmod(0o600)
    result = targets(tmp_path, "list")
    assert (result.status, result.err) == (0, "")
    header, *lines = (" ".join(line.split()) for line in result.out.splitlines())
    assert header == "NAME ENGINE ADDRESS ROLE PASSWORD FROM TAGS"
    assert lines == [
        "eu postgresql 127.0.0.1:1/shop monitor ~/.pgpass prod, eu",
        "us mysql 127.0.0.1:1 monitor command touch prod",
    ]
    assert not (tmp_path / "fetched").exists()


def test_targets_are_chosen_as_audits_choose_them(tmp_path: Path) -> None:
    def names(*words: str) -> list[str]:
        return [row["name"] for row in targets(tmp_path, "list", "--json", *words).json["rows"]]

    assert names("u*") == ["us"]
    assert names("--tag", "eu") == ["eu"]
    assert names("us", "eu", "us") == ["us", "eu"]
    assert names("mysql://m@127.0.0.1:7/") == ["127.0.0.1:7"]


def test_one_target_that_makes_no_sense_keeps_its_place_and_spoils_no_other(tmp_path: Path) -> None:
    more = "[targets.ap]\ndsn = 'service=none-of-this-name'\n"
    result = targets(tmp_path, "list", "--json", more=more)
    assert [row["name"] for row in result.json["rows"]] == ["eu", "us", "ap"]
    assert result.status == 3
    assert result.err.startswith("connaudit: ap: ")


def test_without_configuration_the_surroundings_name_the_target() -> None:
    result = connaudit("targets", "list", "--json", env={"DATABASE_URL": "postgresql://me:s3cr3t-x@127.0.0.1:1/d"})
    (row,) = result.json["rows"]
    assert (row["role"], row["password_from"], row["origin"]) == ("me", "the URL", "DATABASE_URL")
    assert "s3cr3t" not in result.out
    assert "no target" in connaudit("targets", "list").err


def test_show_tells_what_holds_for_a_target_but_no_secret(tmp_path: Path) -> None:
    result = targets(tmp_path, "show", "--all", "--json")
    told = {(row["target"], row["key"]): row["value"] for row in result.json["rows"]}
    assert told["us", "password_from"] == "command touch"
    assert told["us", "timeout"] == "3s"
    assert told["us", "thresholds.count.warning"] == ["50%"]
    assert told["eu", "thresholds.count.warning"] == ["80pct"]
    assert told["eu", "option.sslpassword"] == "***"
    assert "s3cr3t" not in result.out


def test_a_name_that_is_none_is_refused(tmp_path: Path) -> None:
    result = targets(tmp_path, "show", "uss")
    assert (result.status, result.out) == (3, "")
    assert "did you mean us?" in result.err


def test_test_says_ok_with_the_time_of_each_stage(server: Running) -> None:
    env = {"DATABASE_URL": server.url()}
    result = connaudit("targets", "test", "--json", env=env)
    (target,) = result.json["targets"]
    assert (result.status, result.err, target["status"]) == (0, "", "ok")
    stages = {stage["stage"]: stage["seconds"] for stage in target["summary"]["stages"]}
    assert set(stages) >= {"dns", "tcp", "login", "query"}
    assert 0 < sum(stages.values()) < result.seconds
    quiet = connaudit("targets", "test", "-q", env=env)
    assert (quiet.status, quiet.out, quiet.err) == (0, "", "")


def test_test_says_why_not(postgres: Running) -> None:
    wrong = postgres.url().replace(postgres.monitor.password, "wrong-s3cr3t")
    result = connaudit("targets", "test", postgres.url(), wrong, "postgresql://m@127.0.0.1:1/d")
    assert result.status == 3
    first, second = [line for line in result.err.splitlines() if "[" in line]
    assert "[auth]" in first
    assert "[refused]" in second
    assert "wrong-s3cr3t" not in result.out + result.err
    assert "OK" in result.out


def test_a_target_that_answers_too_slowly_can_be_a_warning(postgres: Running) -> None:
    result = connaudit("targets", "test", "-w", "time=1ms", "-c", "time=1h", "--json", postgres.url())
    ((finding,),) = (target["findings"] for target in result.json["targets"])
    assert (result.status, finding["code"], finding["metric"]) == (1, "CA902", "time")
