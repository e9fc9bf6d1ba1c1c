from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connaudit.errors import ConfigError, UsageError
from connaudit.targets import Host, Secret, Target, mycnf, mysql
from connaudit.targets.parse import parse
from connaudit.targets.resolve import resolve
from connaudit.targets.surroundings import Surroundings
from tests.targets.conftest import Around, write


def complete(url: str, around: Surroundings) -> Target:
    return mysql.complete(parse(url), around)


def test_an_option_file_fills_in_what_a_url_leaves_open(tmp_path: Path, around: Around) -> None:
    write(tmp_path / ".my.cnf", "[client]\nuser=me\npassword=pw\nport=3307\nssl-mode=REQUIRED\n[mysqld]\nuser=mysql\n")
    target = complete("mysql://db1/shop", around())
    assert target.hosts == (Host("db1", 3307),)
    assert (target.user, target.password, target.password_from) == ("me", Secret("pw"), "~/.my.cnf")
    assert target.options == (("ssl-mode", "REQUIRED"),)
    told = complete("mysql://you@db1:3306/?ssl-mode=DISABLED", around())
    assert (told.user, told.hosts, told.options) == ("you", (Host("db1", 3306),), (("ssl-mode", "DISABLED"),))


def test_a_url_with_host_and_password_needs_no_option_file(tmp_path: Path, around: Around) -> None:
    write(tmp_path / ".my.cnf", "[client]\nport=3307\n")
    assert complete("mysql://me:pw@db1", around()).hosts == (Host("db1", 3306),)
    assert complete("mysql://me@db1?defaults_file=none", around()).hosts == (Host("db1", 3306),)


def test_the_home_directorys_file_wins_over_the_systems(tmp_path: Path, around: Around) -> None:
    write(tmp_path / "etc/my.cnf", "[client]\nuser=system\nhost=db1\n")
    write(tmp_path / ".my.cnf", "[client]\nuser=me\n")
    target = complete("mysql://", around())
    assert (target.user, target.hosts) == ("me", (Host("db1", 3306),))


def test_an_option_file_and_its_groups_can_be_named(tmp_path: Path, around: Around) -> None:
    write(
        tmp_path / "other.cnf",
        "[client]\nuser=a\nhost=db1\n[monitor]\nuser=b\n[client-eu]\nuser=c\n[client-mariadb]\nport=1\n",
    )
    write(tmp_path / ".my.cnf", "[client]\nuser=no\ndatabase=no\n")
    file = "mysql:///?defaults_file=~/other.cnf"
    assert (complete(file, around()).user, complete(file, around()).database) == ("a", None)
    assert complete(f"{file}&defaults_group=monitor", around()).user == "b"
    assert complete(f"{file}&defaults-group-suffix=-eu", around()).user == "c"
    assert complete(file, around(MYSQL_GROUP_SUFFIX="-eu")).user == "c"
    assert complete(file, around()).hosts == (Host("db1", 1),)
    with pytest.raises(ConfigError, match=r"no option file has the defaults_group .* did you mean monitor"):
        complete(f"{file}&defaults_group=monitr", around())


def test_mysql_pwd_serves_when_nothing_else_names_a_password(tmp_path: Path, around: Around) -> None:
    target = complete("mysql://me@db1", around(MYSQL_PWD="pw"))
    assert (target.password, target.password_from) == (Secret("pw"), "MYSQL_PWD")
    write(tmp_path / ".my.cnf", "[client]\npassword=filed\n")
    assert complete("mysql://me@db1", around(MYSQL_PWD="pw")).password == Secret("filed")
    assert complete("mysql://me:mine@db1", around(MYSQL_PWD="pw")).password == Secret("mine")


def test_without_a_host_it_is_the_socket_that_exists_else_localhost(tmp_path: Path, around: Around) -> None:
    assert complete("mysql://", around()).hosts == (Host("localhost", 3306),)
    assert complete("mysql://", around(MYSQL_UNIX_PORT="/run/a.sock")).hosts == (Host("/run/a.sock"),)
    write(tmp_path / "mysqld.sock", "")
    assert complete("mysql://", around()).hosts == (Host(f"{tmp_path}/mysqld.sock"),)
    write(tmp_path / ".my.cnf", "[client]\nsocket=/run/b.sock\n")
    assert complete("mysql://", around()).hosts == (Host("/run/b.sock"),)
    assert complete("mysql://", around(MYSQL_HOST="db1")).hosts == (Host("db1", 3306),)


def test_a_socket_named_beside_a_port_wins_but_a_port_alone_means_tcp(tmp_path: Path, around: Around) -> None:
    write(tmp_path / "mysqld.sock", "")
    assert complete("mysql://", around(MYSQL_TCP_PORT="3307")).hosts == (Host("localhost", 3307),)
    file = write(tmp_path / ".my.cnf", "[client]\nport=3306\nsocket=/run/b.sock\n")
    assert complete("mysql://", around()).hosts == (Host("/run/b.sock"),)
    file.write_text("[client]\nport=3306\nsocket=/run/b.sock\nprotocol=TCP\n")
    assert complete("mysql://", around()).hosts == (Host("localhost", 3306),)


def test_a_host_that_a_url_names_is_reached_over_tcp(tmp_path: Path, around: Around) -> None:
    write(tmp_path / "mysqld.sock", "")
    assert complete("mysql://localhost", around()).hosts == (Host("localhost", 3306),)
    assert complete("mysql://:3307", around()).hosts == (Host("localhost", 3307),)


def test_a_variable_that_makes_no_sense_is_named(around: Around) -> None:
    with pytest.raises(UsageError, match="MYSQL_TCP_PORT: a port is a number"):
        complete("mysql://db1", around(MYSQL_TCP_PORT="http"))


def test_without_a_user_it_is_ours(around: Around) -> None:
    assert complete("mysql://db1", around()).user == around().login


@pytest.mark.parametrize(
    ("lines", "mode"),
    [
        ("ssl-mode=verify_identity", "VERIFY_IDENTITY"),
        ("ssl", "REQUIRED"),
        ("ssl=0", "DISABLED"),
        ("skip-ssl", "DISABLED"),
        ("ssl-verify-server-cert", "VERIFY_IDENTITY"),
        ("ssl\nssl-verify-server-cert=0", "REQUIRED"),
        ("ssl_mode=REQUIRED\nloose-ssl-verify-server-cert=0", "REQUIRED"),
        ("ssl-mode=REQUIRED\nssl-mode=DISABLED", "DISABLED"),
        ("ssl-ca=/ca.pem", "VERIFY_CA"),
        ("ssl-ca=/ca.pem\nssl-mode=REQUIRED", "REQUIRED"),
    ],
)
def test_an_option_files_demand_for_tls_is_heard(tmp_path: Path, around: Around, lines: str, mode: str) -> None:
    write(tmp_path / ".my.cnf", f"[client]\n{lines}\n")
    assert complete("mysql://db1", around()).option("ssl-mode") == mode


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("user=s3cr3t\n", "line 1: an option stands before the first"),
        ("[client\n", "line 1: the \\[ of a group is not closed"),
        ("\n[client]\nport=s3cr3t\n", "line 3: a port is a number"),
        ("[client]\nssl-mode=s3cr3t\n", "line 2: not an ssl-mode; write one of DISABLED"),
        ("!includ /s3cr3t\n", "line 1: after ! stands include FILE"),
        ("!include /nonexistent/x.cnf\n", "/nonexistent/x.cnf: No such file"),
        ("!includedir /nonexistent\n", "line 1: /nonexistent: No such file"),
    ],
)
def test_a_bad_option_file_is_told_by_line(tmp_path: Path, around: Around, content: str, message: str) -> None:
    write(tmp_path / ".my.cnf", content)
    with pytest.raises(ConfigError, match=message) as caught:
        complete("mysql://db1", around())
    assert "s3cr3t" not in str(caught.value)


def test_an_option_file_that_everybody_can_write_is_refused(tmp_path: Path, around: Around) -> None:
    write(tmp_path / ".my.cnf", "[client]\nuser=me\n", 0o666)
    with pytest.raises(ConfigError, match=r"writable by everybody; run: chmod o-w .*\.my\.cnf"):
        complete("mysql://db1", around())


def test_a_named_option_file_must_exist(around: Around) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        complete("mysql://db1?defaults_file=/nonexistent", around())


def test_includes_are_followed_in_place_and_not_for_ever(tmp_path: Path) -> None:
    main = write(tmp_path / "main.cnf", f"[client]\nuser=a\n!includedir {tmp_path}/d\nport=1\n")
    write(tmp_path / "d/2.cnf", "[client]\nuser=c\n")
    write(tmp_path / "d/1.cnf", "[client]\nuser=b\n")
    write(tmp_path / "d/0.txt", "[client]\nuser=no\n")
    read = [(option.key, option.value) for option in mycnf.read(str(main))]
    assert read == [("user", "a"), ("user", "b"), ("user", "c"), ("port", "1")]
    main.write_text(f"!include {main}\n")
    with pytest.raises(ConfigError, match="nested more than 10 deep"):
        list(mycnf.read(str(main)))


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("password = plain # comment", "plain"),
        ('password="a # b" # comment', "a # b"),
        ("password='a \"b\" c'", 'a "b" c'),
        (r'password="a\"b#c"', 'a"b#c'),
        (r"password=a\sb\\c\td\qe", "a b\\c\td\\qe"),
        ("password=  spaced out  ", "spaced out"),
        ("password=", ""),
        ("password", None),
        ("password=a=b;c", "a=b;c"),
        ('password="', '"'),
        ("password='it\"", "'it\""),
        ("password=it's # no comment", "it's # no comment"),
        ("password='a'b'", "a'b"),
        ('password="lead # in" ; x', '"lead # in" ; x'),
        (r"password=a\#b", "a\\"),
        (r'password="tail\"', "tail\\"),
        (r'password="a\\\"b"', 'a\\"b'),
        ("loose_password=a", "a"),
        (r"password=a\"b # c", 'a"b # c'),
        ("  password = a", "a"),
    ],
)
def test_quotes_escapes_and_comments_are_mysqls(tmp_path: Path, line: str, value: str | None) -> None:
    """`mariadbd --print-defaults` and `mysqld --print-defaults` print these values for these lines."""
    path = write(tmp_path / "my.cnf", f"# one\n; two\n[client]\n{line}\n")
    (option,) = mycnf.read(str(path))
    assert (option.group, option.key, option.value) == ("client", "password", value)


def test_a_group_is_named_as_it_stands_in_its_brackets(tmp_path: Path) -> None:
    path = write(tmp_path / "my.cnf", "[client ] # ours\nuser=a\n[ client]\nuser=b\n")
    assert [option.group for option in mycnf.read(str(path))] == ["client", " client"]


def quoted(value: str) -> str:
    for plain, escape in {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b"}.items():
        value = value.replace(plain, escape)
    return f'"{value}"'


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20))
def test_what_is_quoted_by_the_rules_is_read_back(tmp_path_factory: pytest.TempPathFactory, value: str) -> None:
    path = tmp_path_factory.getbasetemp() / "quoted.cnf"
    path.write_text(f"[client]\npassword={quoted(value)}\n", encoding="utf-8", newline="")
    (option,) = mycnf.read(str(path))
    assert option.value == value


def test_several_hosts_of_a_mysql_url_are_tried_in_turn() -> None:
    found = resolve(["mysql://app@db1,db2:3307/"], environment={}, home="/nonexistent").targets[0]
    assert [(host.name, host.port) for host in found.hosts] == [("db1", 3306), ("db2", 3307)]
