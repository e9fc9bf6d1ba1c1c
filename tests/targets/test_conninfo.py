import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from connaudit.errors import UsageError
from connaudit.targets import Host, Secret, conninfo
from connaudit.targets.malformed import Malformed
from connaudit.targets.parse import parse

value = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
keys = st.sampled_from(["host", "user", "password", "dbname", "sslrootcert", "options"])
soup = st.text(st.sampled_from(list("host=user password'\\ \t\n=")), max_size=30)


def ours(text: str) -> dict[str, str] | None:
    try:
        return {key: value for key, value, _ in conninfo.split(text)}
    except Malformed:
        return None


def libpqs(text: str) -> dict[str, str] | None:
    try:
        return {key: str(value) for key, value in conninfo_to_dict(text).items()}
    except ProgrammingError:
        return None


@given(st.dictionaries(keys, value, min_size=1))
def test_what_psycopg_writes_is_read_back(values: dict[str, str]) -> None:
    assert ours(make_conninfo("", **values)) == values


@given(
    st.lists(st.tuples(keys, soup), min_size=1, max_size=3).map(lambda pairs: " ".join(f"{k}={v}" for k, v in pairs))
)
def test_quotes_and_backslashes_are_libpqs(text: str) -> None:
    """Whatever libpq refuses for an unknown keyword alone is refused later, by the target."""
    told, read = libpqs(text), ours(text)
    known = {"host", "user", "password", "dbname", "sslrootcert", "options"}
    if told is not None:
        assert read == told
    elif read is not None:
        assert not set(read) <= known


@pytest.mark.parametrize(
    "text",
    [
        "host= user=x",
        "host = db1",
        r"password=a\ b",
        r"password='it\'s'",
        "password=''",
        "user=a\\",
        " host=a\n port=1 ",
        "",
    ],
)
def test_odd_strings_are_read_as_libpq_reads_them(text: str) -> None:
    assert ours(text) == libpqs(text)


def test_a_keyword_string_becomes_a_target() -> None:
    target = parse("host=db1,db2 port=5433 user=me password='a b' dbname=shop sslmode=require")
    assert target.hosts == (Host("db1", 5433), Host("db2", 5433))
    assert (target.user, target.password, target.database) == ("me", Secret("a b"), "shop")
    assert target.options == (("sslmode", "require"),)
    assert target.password_from == "the connection string"


def test_a_hostaddr_stands_beside_its_host_or_for_it() -> None:
    assert parse("host=db1 hostaddr=10.0.0.1").hosts == (Host("db1", None, "10.0.0.1"),)
    assert parse("hostaddr=10.0.0.1 port=1").hosts == (Host("10.0.0.1", 1, "10.0.0.1"),)


def test_other_secrets_than_the_password_do_not_print_either() -> None:
    target = parse("host=db1 sslpassword=s3cr3t oauth_client_secret=s3cr3t")
    assert "s3cr3t" not in repr(target)
    assert target.option("sslpassword") == "s3cr3t"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("host=db1 pasword=x", r"\(character 10\): not an option that libpq knows; did you mean password\?"),
        ("host=db1 password='x", r"\(character 19\): a quoted value is not closed"),
        ("password=my secret host=db1", r"\(character 13\): after a keyword stands"),
        ("host=a,b,c port=1,2", "not as many ports as hosts"),
        ("host=a,b hostaddr=10.0.0.1", "not as many hosts as hostaddrs"),
        ("host=a port=http", "a port is a number"),
    ],
)
def test_an_error_says_where_and_what(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse(text)
