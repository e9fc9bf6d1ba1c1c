"""What libpq would fill in; libpq itself is asked wherever it can tell."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from connaudit.errors import ConfigError, UsageError
from connaudit.targets import Host, Secret, Target, postgresql
from connaudit.targets.parse import parse
from tests.targets.conftest import Around, write

ASK_LIBPQ = """
import json, sys
from psycopg import pq
conn = pq.PGconn.connect_start(sys.argv[1].encode())  # nothing listens there; it has read all its sources by now
told = {o.keyword.decode(): o.val.decode() for o in conn.info if o.val}
told["password"] = conn.password.decode() if conn.password else told.get("password", "")
print(json.dumps(told))
conn.finish()
"""


def libpq(text: str, home: Path, **environment: str) -> dict[str, str]:
    """Return what libpq makes of a keyword string in that environment."""
    surroundings = {"PATH": os.environ["PATH"], "HOME": str(home), "PGSYSCONFDIR": str(home / "etc"), **environment}
    asked = [sys.executable, "-c", ASK_LIBPQ, text]
    done = subprocess.run(asked, env=surroundings, capture_output=True, text=True, check=True)
    told: dict[str, str] = json.loads(done.stdout)
    return told


def seen(target: Target) -> dict[str, str]:
    """Return a target in libpq's words."""
    host = target.hosts[0]
    return {
        "host": host.name,
        "port": str(host.port),
        "user": target.user or "",
        "dbname": target.database or "",
        "password": target.password.reveal() if target.password else "",
        **{key: target.option(key) or "" for key, _ in target.options},
    }


@pytest.mark.parametrize(
    ("text", "environment"),
    [
        ("host=127.0.0.1 port=1 dbname=shop user=me", {}),
        ("dbname=shop", {"PGHOST": "127.0.0.1", "PGPORT": "1", "PGUSER": "me", "PGPASSWORD": "pw"}),
        ("dbname=shop", {"PGHOST": "localhost", "PGHOSTADDR": "127.0.0.1", "PGPORT": "1"}),
        ("host=127.0.0.1 port=1", {"PGDATABASE": "shop", "PGSSLMODE": "require", "PGHOST": "10.0.0.1"}),
        ("service=shop", {}),
        ("service=shop user=me", {"PGUSER": "you", "PGDATABASE": "other", "PGSSLMODE": "disable"}),
        ("dbname=mine", {"PGSERVICE": "shop"}),
        ("service=shared port=1", {}),
        ("host=127.0.0.1 port=1 user=me dbname=filed", {}),
        ("host=127.0.0.1 port=1 user=colon:me dbname=filed", {}),
        ("host=127.0.0.1 port=1 user=me dbname=elsewhere", {"PGPASSFILE": "/nonexistent"}),
        ("host=127.0.0.1 port=1 user=me dbname=filed", {"PGPASSWORD": "pw"}),
    ],
)
def test_a_target_is_what_libpq_would_use(
    tmp_path: Path, around: Around, text: str, environment: dict[str, str]
) -> None:
    write(
        tmp_path / ".pg_service.conf", "# ours\n[other]\nport=9\n[shop]\nhost=127.0.0.1\nport=1\ndbname=s h\nport=2\n"
    )
    write(tmp_path / "etc/pg_service.conf", "[shop]\nhost=no\n[shared]\nhost=127.0.0.1\nsslmode=disable\npassword=pw\n")
    passwords = (
        "#127.0.0.1:1:filed:me:no\n127.0.0.2:*:*:*:no\n127.0.0.1:1:filed:colon\\:me:a\\\\b:c\n*:1:filed:me:good\n"
    )
    write(tmp_path / ".pgpass", passwords)
    told = libpq(text, tmp_path, **environment)
    told.setdefault("dbname", told["user"])
    target = postgresql.complete(parse(text), around(**environment))
    ours = seen(target)
    if target.database == "postgres":  # our own default; libpq's is the user's name
        ours["dbname"] = told["dbname"] = ""
    assert ours == {key: told[key] for key in ours}
    assert (target.hosts[0].address or "") == told.get("hostaddr", "")


def test_pghostaddr_never_moves_a_target_that_names_its_host(around: Around) -> None:
    target = postgresql.complete(parse("postgresql://db1/"), around(PGHOST="db2", PGHOSTADDR="10.0.0.2", PGPORT="5433"))
    assert target.hosts == (Host("db1", 5433),)


def test_without_a_host_it_is_the_socket_that_exists_else_localhost(tmp_path: Path, around: Around) -> None:
    target = parse("dbname=shop")
    assert postgresql.complete(target, around()).hosts == (Host("localhost", 5432),)
    write(tmp_path / "tmp/.s.PGSQL.5432", "")
    assert postgresql.complete(target, around()).hosts == (Host(f"{tmp_path}/tmp", 5432),)
    assert postgresql.complete(target, around(PGPORT="5433")).hosts == (Host("localhost", 5433),)


def test_without_a_database_it_is_postgres_and_the_user_is_ours(around: Around) -> None:
    target = postgresql.complete(parse("postgresql://db1"), around())
    assert (target.database, target.user) == ("postgres", around().login)


def test_each_of_several_hosts_gets_its_port(around: Around) -> None:
    target = postgresql.complete(parse("postgresql://db1,db2:5433,[::1]/"), around())
    assert target.hosts == (Host("db1", 5432), Host("db2", 5433), Host("::1", 5432))


def test_a_variable_that_makes_no_sense_is_named(around: Around) -> None:
    with pytest.raises(UsageError, match="PGPORT or a service file: a port is a number"):
        postgresql.complete(parse("postgresql://db1"), around(PGPORT="http"))


def test_where_the_password_comes_from_is_told_in_words(tmp_path: Path, around: Around) -> None:
    target = parse("host=db1 dbname=shop user=me")
    assert postgresql.complete(target, around()).password_from is None
    write(tmp_path / ".pgpass", "db1:*:*:me:pw\n")
    assert postgresql.complete(target, around()).password_from == "~/.pgpass"
    assert postgresql.complete(target, around(PGPASSWORD="pw")).password_from == "PGPASSWORD"
    assert postgresql.complete(parse("postgresql://me:pw@db1/"), around()).password_from == "the URL"
    write(tmp_path / ".pg_service.conf", "[shop]\npassword=pw\n")
    assert postgresql.complete(parse("service=shop"), around()).password_from == "service file ~/.pg_service.conf"


def test_localhost_in_a_password_file_also_means_the_usual_socket(tmp_path: Path, around: Around) -> None:
    write(tmp_path / ".pgpass", "localhost:5432:*:me:pw\n")
    usual = postgresql.complete(parse(f"host={tmp_path}/run user=me"), around())
    other = postgresql.complete(parse(f"host={tmp_path}/other user=me"), around())
    assert (usual.password, other.password) == (Secret("pw"), None)


def test_with_several_hosts_libpq_looks_for_the_password_of_each(tmp_path: Path, around: Around) -> None:
    write(tmp_path / ".pgpass", "db2:5432:*:me:pw\n")
    target = postgresql.complete(parse("host=db1,db2 user=me"), around())
    assert (target.password, target.password_from) == (None, "~/.pgpass")


def test_a_password_file_that_others_can_read_is_kept_from_libpq_and_told(tmp_path: Path, around: Around) -> None:
    path = write(tmp_path / ".pgpass", "127.0.0.1:1:*:me:pw\n", 0o644)
    target = postgresql.complete(parse("host=127.0.0.1 port=1 user=me"), around())
    assert target.password is None
    assert postgresql.warnings(target, around()) == (
        "~/.pgpass is readable by others and therefore not read; run: chmod 600 ~/.pgpass",
    )
    asked = [sys.executable, "-c", ASK_LIBPQ, f"host=127.0.0.1 port=1 user=me passfile={target.option('passfile')}"]
    done = subprocess.run(asked, env={"HOME": str(tmp_path)}, capture_output=True, text=True, check=True)
    assert done.stderr == ""  # libpq would write a warning of its own there
    path.chmod(0o600)
    good = postgresql.complete(parse("host=127.0.0.1 port=1 user=me"), around())
    assert (good.password, postgresql.warnings(good, around())) == (Secret("pw"), ())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[shop]\nhost = db1\n", "line 2: not a keyword that a service may have; did you mean host"),
        ("[shop]\nhost=db1\n\nhost\n", "line 4: write keyword=value"),
        ("[shop]\nservice=other\n", "line 2: not a keyword"),
        ("[shop]\nldap://s3cr3t/\n", "line 2: connaudit does not look services up by LDAP"),
    ],
)
def test_a_bad_service_file_is_told_by_line(tmp_path: Path, around: Around, content: str, message: str) -> None:
    write(tmp_path / ".pg_service.conf", content)
    with pytest.raises(ConfigError, match=message) as caught:
        postgresql.complete(parse("service=shop"), around())
    assert "s3cr3t" not in str(caught.value)


def test_an_unknown_service_or_a_missing_file_is_told(tmp_path: Path, around: Around) -> None:
    write(tmp_path / ".pg_service.conf", "[shop]\nhost=db1\n")
    with pytest.raises(UsageError, match="did you mean shop"):
        postgresql.complete(parse("service=shopp"), around())
    with pytest.raises(ConfigError, match="PGSERVICEFILE: /nonexistent: no such file"):
        postgresql.complete(parse("service=shop"), around(PGSERVICEFILE="/nonexistent"))


def test_the_list_of_keywords_is_libpqs() -> None:
    from psycopg import pq

    ours = {*postgresql.KEYWORDS, "application_name", "fallback_application_name", "connect_timeout"}
    ours |= {"client_encoding", "replication", "sslkeylogfile"}
    for option in pq.Conninfo.get_defaults():
        keyword = option.keyword.decode()
        assert keyword in ours
        if keyword in postgresql.KEYWORDS:
            assert postgresql.KEYWORDS[keyword] == (option.envvar.decode() if option.envvar else None)
