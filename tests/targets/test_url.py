from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from connaudit.errors import UsageError
from connaudit.targets import Host, Secret
from connaudit.targets.parse import parse

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
host = st.one_of(
    st.from_regex(r"[a-z][a-z0-9.-]{0,10}", fullmatch=True),
    st.ip_addresses().map(str),
    st.just("/var/run/post gres"),
)
port = st.one_of(st.none(), st.integers(1, 65535))


def written(name: str, number: int | None) -> str:
    place = f"[{name}]" if ":" in name else quote(name, safe="")
    return place if number is None else f"{place}:{number}"


@given(user=text, password=text, database=text, hosts=st.lists(st.tuples(host, port), min_size=1, max_size=3))
def test_what_a_url_is_built_from_is_what_is_parsed(
    user: str, password: str, database: str, hosts: list[tuple[str, int | None]]
) -> None:
    login = f"{quote(user, safe='')}:{quote(password, safe='')}"
    places = ",".join(written(*place) for place in hosts)
    target = parse(f"postgresql://{login}@{places}/{quote(database, safe='')}")
    assert (target.user, target.password, target.database) == (user, Secret(password), database)
    assert target.hosts == tuple(Host(*place) for place in hosts)


@given(user=text, password=text, database=text)
def test_a_mysql_url_is_read_by_the_same_rules(user: str, password: str, database: str) -> None:
    parts = [quote(part, safe="") for part in (user, password, database)]
    target = parse("mysql://{}:{}@db1:3307/{}".format(*parts))
    assert (target.user, target.password, target.database) == (user, Secret(password), database)
    assert target.hosts == (Host("db1", 3307),)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://",
        "postgresql:///",
        "postgres://db1",
        "postgresql://db1/shop",
        "postgresql://me@db1:5433/shop?sslmode=verify-full&sslrootcert=system",
        "postgresql://me:a:b%40c@db1",
        "postgresql://:pw@db1",
        "postgresql://me:@db1",
        "postgresql://me@/shop",
        "postgresql://db1,db2:5433,[::1]:5434/shop",
        "postgresql://[fe80::1%25eth0]/shop",
        "postgresql://%2Fvar%2Frun%2Fpg/shop",
        "postgresql:///shop?host=/var/run/pg&port=5433",
        "postgresql:///shop?host=db1,db2&port=5433,5434",
        "postgresql://db1/shop?user=other&password=pw&dbname=mine",
        "postgresql://db1:5432/shop?hostaddr=10.0.0.1",
        "postgresql://db1/sh%C3%B6p%20one",
        "postgresql://db1/?options=-csearch_path%3Da",
    ],
)
def test_libpq_reads_a_url_in_the_same_way(url: str) -> None:
    told = {key: str(value) for key, value in conninfo_to_dict(url).items()}
    target = parse(url)
    names = told.get("host") or told.get("hostaddr") or ""
    ports = (told.get("port") or "").split(",")
    assert [host.name for host in target.hosts] == names.split(",")
    assert [str(host.port or "") for host in target.hosts] in (ports, ports * len(target.hosts))
    assert [host.address or "" for host in target.hosts] == (told.get("hostaddr") or "," * names.count(",")).split(",")
    assert target.user == (told.get("user") or None)
    assert target.password == (Secret(told["password"]) if told.get("password") else None)
    assert target.database == (told.get("dbname") or None)
    assert dict(target.options) == {key: told[key] for key in ("sslmode", "sslrootcert", "options") if key in told}


@pytest.mark.parametrize(
    ("scheme", "engine"),
    [
        ("postgresql", "postgresql"),
        ("postgres", "postgresql"),
        ("POSTGRES", "postgresql"),
        ("postgresql+psycopg2", "postgresql"),
        ("postgresql+asyncpg", "postgresql"),
        ("postgis", "postgresql"),
        ("timescale", "postgresql"),
        ("pgsql", "postgresql"),
        ("psql", "postgresql"),
        ("mysql", "mysql"),
        ("mariadb", "mysql"),
        ("mysql2", "mysql"),
        ("mysql+pymysql", "mysql"),
        ("mariadb+mariadbconnector", "mysql"),
    ],
)
def test_every_usual_spelling_of_a_scheme_is_known(scheme: str, engine: str) -> None:
    assert parse(f"{scheme}://me@db1/shop").engine == engine


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgres://db1/%zz", "(character 16): after a % stand two hexadecimal digits"),
        ("postgres://me@[::1/shop", "(character 15): the [ of an IPv6 address is not closed"),
        ("postgres://::1/shop", "(character 12): an IPv6 address belongs in [brackets]"),
        ("postgres://db1:http/shop", "(character 16): a port is a number from 1 to 65535"),
        ("postgres://db1:65536/", "(character 16): a port"),
        ("postgres://db1/shop?sslmod=require", "did you mean sslmode?"),
        ("postgres://db1/shop?sslmode=required", "write one of disable, allow, prefer"),
        ("postgres://db1/shop?sslmode", "(character 21): each option after the ?"),
        ("postgres://db1/?replication=database", "does not open replication connections"),
        ("postgres://db1/%ff", "is not UTF-8"),
        ("postgres://db1/a%00b", "(character 17)"),
        ("mysql://db1/?ssl-mod=REQUIRED", "did you mean ssl-mode?"),
        ("mysql://db1/?ssl-mode=yes", "write one of DISABLED, PREFERRED, REQUIRED, VERIFY_CA, VERIFY_IDENTITY"),
        ("mysql:///?socket=mysqld.sock", "absolute path"),
        ("postgers://db1", "unknown scheme; did you mean postgres"),
        ("gopher://db1", "connaudit audits PostgreSQL (postgresql://) and MySQL or MariaDB (mysql://, mariadb://)"),
        ("sqlite:///shop.db", "sqlite:// names a file, not a server"),
        ("pgbouncer://stats@db1:6432/", "cannot be audited yet"),
        ("proxysql://stats@db1:6032/", "cannot be audited yet"),
        ("postgres//me@db1/shop", "the URL is not valid (character 1): a URL begins with postgresql://"),
        ("  postgres://db1/%zz", "(character 18)"),
    ],
)
def test_an_error_says_where_and_what(url: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(url)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "password", ["p@ss", "p/ss", "p#ss", "p ss", "{pass}", "p%ss", "p?ss", "12/34", "1?a=b", "p\tss"]
)
@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
def test_a_password_that_must_be_encoded_is_never_guessed_at(scheme: str, password: str) -> None:
    with pytest.raises(UsageError, match="must be percent-encoded") as caught:
        parse(f"{scheme}://me:{password}@db1/shop")
    assert password not in str(caught.value)


def test_options_of_other_programs_are_passed_over() -> None:
    target = parse("postgres://db1/shop?conn_max_age=600&application_name=web&connect_timeout=3&schema=public")
    assert target.options == ()
    assert parse("mysql://db1/shop?charset=utf8mb4&conn_max_age=0").options == ()


def test_djangos_and_jdbcs_demand_for_tls_is_heard() -> None:
    assert parse("postgres://db1/?ssl_require=True").option("sslmode") == "require"
    assert parse("postgres://db1/?ssl=true").option("sslmode") == "require"
    assert parse("postgres://db1/?ssl=false").option("sslmode") is None


@pytest.mark.parametrize(
    ("query", "mode"),
    [
        ("ssl-mode=required", "REQUIRED"),
        ("ssl_mode=VERIFY_IDENTITY", "VERIFY_IDENTITY"),
        ("sslmode=verify-full", "VERIFY_IDENTITY"),
        ("ssl=true", "REQUIRED"),
        ("ssl_disabled=true", "DISABLED"),
        ("ssl_verify_cert=true&ssl_verify_identity=true", "VERIFY_IDENTITY"),
        ("ssl_verify_identity=true&ssl_verify_cert=true", "VERIFY_IDENTITY"),
        ("ssl-mode=REQUIRED&ssl-verify-cert=false", "REQUIRED"),
    ],
)
def test_mysqls_tls_options_become_one_ssl_mode(query: str, mode: str) -> None:
    assert parse(f"mysql://db1/?{query}").option("ssl-mode") == mode


def test_a_mysql_socket_is_its_host() -> None:
    for key in ("socket", "unix_socket", "unix-socket"):
        target = parse(f"mysql:///shop?{key}=/run/mysqld/mysqld.sock")
        assert target.hosts == (Host("/run/mysqld/mysqld.sock"),)
        assert target.options == ()


def test_a_target_without_a_name_is_called_by_its_address() -> None:
    assert parse("postgresql://me:pw@db1:5433/shop").name == "db1:5433/shop"
    assert parse("postgresql://me:pw@db1:5433/shop", name="prod").name == "prod"
    assert parse("host=/tmp port=5433 dbname=shop").name == "/tmp:5433/shop"


def test_an_error_names_the_origin_that_is_not_an_argument() -> None:
    with pytest.raises(UsageError, match=r"^DATABASE_URL: the URL is not valid \(character 10\): a port"):
        parse("pg://db1:x", origin="DATABASE_URL")
    with pytest.raises(UsageError, match=r"^target prod: the URL is not valid"):
        parse("pg://db1:x", name="prod", origin="config")
