"""Masking: no literal is ever shown, whatever cut it off; names and code tags are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connaudit.sqltext import mask, without_passwords

SECRET = "s3cr3t"


@pytest.mark.parametrize(
    "statement",
    [
        f"select '{SECRET}'",
        f"select '{SECRET}",
        f"select E'a\\'{SECRET}'",
        f"select E'a\\'{SECRET}",
        f"select 'it''s {SECRET}'",
        f"select $${SECRET}$$",
        f"select $tag$ ' {SECRET}",
        f"select U&'{SECRET}', N'{SECRET}', B'1', X'{SECRET}'",
        f"select 1 -- {SECRET}",
        f"select 1 /* {SECRET} */",
        f"select 1 /* {SECRET}",
        f"select 'C:\\', '{SECRET}'",
        f"select 'it\\'s {SECRET}'",  # with standard_conforming_strings off
        f"select 1 /* outer /* inner */ {SECRET} */",
        f"select 1 /* a /* b /* c */ */ {SECRET} */",
        f"insert into t values (1, '{SECRET}'), (2, $q${SECRET}$q$)",
    ],
)
def test_no_literal_of_postgresql_is_shown(statement: str) -> None:
    assert SECRET not in mask(statement, "postgresql")


@pytest.mark.parametrize(
    "statement",
    [
        f"select '{SECRET}'",
        f'select "{SECRET}"',
        f'select "{SECRET}',
        f"select 'it\\'s {SECRET}'",
        f"select '{SECRET}\\",
        f"select 1 # {SECRET}",
        f"select 1 -- {SECRET}",
        f"select _utf8mb4'{SECRET}'",
        f"select _latin1 '{SECRET}', n'{SECRET}'",
    ],
)
def test_no_literal_of_mysql_is_shown(statement: str) -> None:
    assert SECRET not in mask(statement, "mysql")


@pytest.mark.parametrize(
    ("statement", "shown"),
    [
        ("UPDATE cart SET qty = 3 WHERE id = 77", "UPDATE cart SET qty = ? WHERE id = ?"),
        ("SELECT * FROM o WHERE s IN ('a','b')  FOR UPDATE", "SELECT * FROM o WHERE s IN (?) FOR UPDATE"),
        ('SELECT "a 1"."b" FROM t1 WHERE x = $1', 'SELECT "a 1"."b" FROM t1 WHERE x = $1'),
        ('SAVEPOINT "s140509717722816_x1"', 'SAVEPOINT "s140509717722816_x1"'),
        ("select 1.5e-3, 0xFF, .5", "select ?"),
        ("select\n\t1", "select ?"),
        (r"select 'C:\\temp\\' || a, '\d+' from t", "select ? || a, ? from t"),
        ("select 1 /* a /* b */ c */ from t", "select ? from t"),
        ("select 4 / 2, a /b, c", "select ? / ?, a /b, c"),
        ("", ""),
    ],
)
def test_what_is_no_literal_stays(statement: str, shown: str) -> None:
    assert mask(statement) == shown


def test_backticks_are_names_of_mysql() -> None:
    assert mask("select `c1`.`x` from `t 2`", "mysql") == "select `c1`.`x` from `t 2`"


@pytest.mark.parametrize("tag", ["/*route='cart',framework='django%3A5'*/", "/*application:Shop,controller:orders*/"])
def test_comments_that_carry_code_tags_are_kept(tag: str) -> None:
    assert mask(f"select 1 {tag}") == f"select ? {tag}"


@pytest.mark.parametrize(
    "statement",
    [
        f"alter role a password '{SECRET}'",
        f"alter role a with encrypted password '{SECRET}",
        f"create user a identified by '{SECRET}'",
        f"create user a identified with caching_sha2_password by '{SECRET}'",
        f"set password for 'a'@'%' = '{SECRET}'",
        f"change master to master_password = '{SECRET}'",
        f"create subscription s connection 'host=a password={SECRET} dbname=x'",
        f"select dblink('postgres://u:{SECRET}@h/d')",
        f"create user mapping for a server s options (user 'a', password '{SECRET}')",
    ],
)
def test_passwords_are_hidden_even_from_who_wants_raw_text(statement: str) -> None:
    assert SECRET not in without_passwords(statement)


@given(text=st.text())
def test_every_text_is_masked_without_an_error(text: str) -> None:
    for engine in ("postgresql", "mysql"):
        assert "'" not in mask(text.replace("`", "").replace('"', "").replace("/*", ""), engine)
    without_passwords(text)
