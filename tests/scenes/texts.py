"""Scenes of texts that are hard to read, or mean harm: commands that are asked for them raw show them exactly."""

from tests.scenes.expected import Expected, Listed, Told, idle_tx, long_query
from tests.scenes.stage import Play, scene
from tests.servers import Role

# What looks like a log line, a workflow command, markup, or a terminal's and a reader's own control characters.
NASTY = (
    "a\n::error title=x::b\n##[group]c\r[red]d[/red] [/] \x1b[31me\x07 :smile: |f\t\x7f\u202eg\u200b <b>h</b> "
    "&amp; \u8868\U0001f600\u00a0\n2026-01-01 00:00:00 CRITICAL i"
)
TEMPLATE = "encoding '{}' lc_collate 'C' lc_ctype 'C' template template0"


def _held(play: Play, encoding: str, text: bytes, shown: str) -> Expected:
    """Hold a session in a database of an encoding, idle in transaction after a statement of these bytes."""
    name = play.database(f"other_{encoding.lower()}", TEMPLATE.format(encoding))
    client = play.session("begin", role=play.server.superuser, database=name, client_encoding=encoding)
    client.driver.execute(text)
    return [idle_tx(client, database=name, sql=shown), Told("idle-tx", {"count": 1})]


@scene("postgres")
def a_database_in_latin1(play: Play) -> Expected:
    return _held(play, "LATIN1", b"select 'caf\xe9'", "select 'café'")


@scene("postgres")
def a_database_that_says_nothing_of_its_encoding(play: Play) -> Expected:
    return _held(play, "SQL_ASCII", b"select 'caf\xc3\xa9 \xff'", "select 'café \\xff'")


@scene("postgres")
def an_audit_from_a_database_in_latin1(play: Play) -> Expected:
    play.by = {"database": play.database("latin", TEMPLATE.format("LATIN1"))}
    client = play.session("begin", "select 'naïve ☃'")
    return [idle_tx(client, sql="select 'naïve ☃'")]


@scene("postgres")
def an_audit_from_a_database_that_says_nothing_of_its_encoding(play: Play) -> Expected:
    play.by = {"database": play.database("raw", TEMPLATE.format("SQL_ASCII"))}
    client = play.session("begin", "select 'naïve ☃'")
    return [idle_tx(client, sql="select 'naïve ☃'")]


@scene()
def a_statement_that_means_harm(play: Play) -> Expected:
    text = f"select {'pg_sleep' if play.on_postgres else 'sleep'}(60) /* {NASTY} */"
    client = play.running(text)
    return [long_query(client, sql=text, sql_truncated=False), Told("long-queries", {"count": 1})]


def _nasty_names(play: Play, name: str) -> Expected:
    quoted = '"' + name + '"'
    play.server.ask(f"create role {quoted} superuser login password 'nasty-s3cr3t'")
    play.afterwards(f"drop role {quoted}")
    play.server.ask(f"create database {quoted}")
    play.afterwards(f"drop database {quoted}")
    client = play.session(
        "begin", role=Role(name, "nasty-s3cr3t"), database=name, application_name="a\n::error::b\x1b[31m"
    )
    escaped = play.server.ask("select application_name from pg_stat_activity where pid = %s", client.id)[0][0]
    return [
        idle_tx(client, user=name, database=name, app=escaped),
        Listed("count", {"user": name}, {"app": escaped, "count": 1}),
    ]


@scene("postgres", before=(19,))
def names_that_mean_harm(play: Play) -> Expected:
    return _nasty_names(play, f"nasty {NASTY}"[:20])


@scene("postgres", since=(19,))
def names_that_mean_harm_on_one_line(play: Play) -> Expected:
    return _nasty_names(play, f"nasty {NASTY}".replace("\n", " ").replace("\r", " ")[:56].strip())


@scene("mysql", "mariadb")
def names_of_mysql_that_mean_harm(play: Play) -> Expected:
    name = f"nasty {NASTY}"[:32]
    account, database = f"'{name}'@'%'", f"`{name}`"
    play.server.ask(f"create user {account} identified by 'nasty-s3cr3t'")
    play.afterwards(f"drop user {account}")
    play.server.ask(f"create database {database}")
    play.afterwards(f"drop database {database}")
    play.server.ask(f"grant all on {database}.* to {account}")
    client = play.session(role=Role(name, "nasty-s3cr3t"), database=name)
    client.start("select sleep(60)")
    return [long_query(client, user=name, database=name), Listed("count", {"user": name}, {"count": 1})]


@scene("mysql")
def a_name_of_ten_thousand_characters(play: Play) -> Expected:
    """The server keeps 64 kB of attributes and shows 512 bytes; PostgreSQL keeps 63 of an application's name."""
    client = play.session("begin", program_name="n" * 10_000)
    return [idle_tx(client), Told("count", {"used": 1})]


@scene("postgres")
def an_application_of_ten_thousand_characters(play: Play) -> Expected:
    client = play.session(f"set application_name = '{'n' * 10_000}'", "begin")
    return [idle_tx(client, app="n" * 63), Listed("count", {"app": "n" * 63}, {"count": 1})]
