"""Sessions that lie idle by design: listed apart from those that may leak, and never flagged unless asked for."""

import re
from enum import StrEnum

from connaudit.snapshot import Kind, Session


class Apart(StrEnum):
    """Why a session is listed apart."""

    LISTENER = "listener"  # waits for NOTIFY: idle for as long as it lives
    LOCK = "lock"  # holds an advisory lock, which lives as long as its session
    TOOL = "tool"  # somebody sits before it
    POOLER = "pooler"  # given back to a pool: the last statement cleaned it for the next user
    REPLICATION = "replication"


# What these programs call themselves, at the beginning of application_name or program_name. They name one window,
# tab or pool each, which stays open as long as somebody likes.
_TOOLS = re.compile(
    r"(?:psql|pgcli|pgadmin|pg_activity|pg_top|dbeaver|datagrip|intellij|pycharm|beekeeper|tableplus|postico|navicat|"
    r"heidisql|sql ?developer|sqlyog|azure ?data ?studio|vscode|visual studio|adminer|phpmyadmin|phppgadmin|pgweb|"
    r"mysql ?workbench|mysql ?shell|mysqlsh|mycli|mysql$|mariadb(?:-client)?$|razorsql|squirrel|omnidb|"
    r"sequel (?:pro|ace)|dbvisualizer|toad|arctype|usql|harlequin|connaudit)(?![a-z])",
    re.IGNORECASE,
)
_POOLERS = re.compile(r"pgbouncer|pgcat|odyssey|pgpool|proxysql|maxscale|rds ?proxy|supavisor", re.IGNORECASE)
_LISTEN = re.compile(r"\s*(?:listen|unlisten)\b(?!\s*\*)", re.IGNORECASE)
_ADVISORY = re.compile(r"\bpg_(?:try_)?advisory_lock(?:_shared)?\s*\(|\bget_lock\s*\(", re.IGNORECASE)
# PgBouncer, Npgsql; asyncpg's pool; what poolers configure instead. A bare ROLLBACK is no sign: anybody may send one.
_RESET = re.compile(
    r"\s*(?:discard\s+all|(?:select\s+pg_advisory_unlock_all\(\)\s*;\s*)?(?:close\s+all\s*;\s*)?(?:unlisten\s+\*\s*;\s*)?"
    r"reset\s+all)\s*;?\s*$",
    re.IGNORECASE,
)


def apart(session: Session) -> Apart | None:
    """Return why a session is listed apart; None if it is not."""
    name = session.program or ""
    query = session.query or ""
    if session.kind is Kind.REPLICATION:
        return Apart.REPLICATION
    if _LISTEN.match(query):
        return Apart.LISTENER
    if session.advisory_locks or (session.advisory_locks is None and _ADVISORY.search(query)):
        return Apart.LOCK
    if _TOOLS.match(name):
        return Apart.TOOL
    if _POOLERS.match(name) or _RESET.match(query):
        return Apart.POOLER
    return None


# What drivers and Django send when a connection is opened, before anybody has used it.
_OPENING = re.compile(
    r"""\s*(?: set\s+(?:session\s+|local\s+)?(?:time\s+zone|client_encoding|extra_float_digits|application_name|names|
               datestyle|search_path|standard_conforming_strings|transaction\s+isolation|sql_mode|
               session\s+characteristics|autocommit\s*=\s*0)\b
             | select\s+set_config\(\s*'(?:timezone|application_name|search_path|client_encoding)'
             | select\s+@@ | show\s+(?:transaction|standard_conforming_strings|variables)
        )""",
    re.IGNORECASE | re.VERBOSE,
)


def never_used(session: Session) -> bool | None:
    """Return whether nothing but its opening ever ran in a session; None where its statements are not told."""
    if session.query is None:
        return None
    return not session.query.strip() or _OPENING.match(session.query) is not None
