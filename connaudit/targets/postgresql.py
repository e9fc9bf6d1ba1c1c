"""PostgreSQL targets: libpq's keywords, its environment variables, its defaults.

A target leaves here complete: host, port, user and database are what libpq would have filled in from service files
and PG* variables, so that what a report shows is what was used. Three rules are ours. A host that a target names
is never combined with PGHOST's or PGHOSTADDR's, which would audit one server under another's name. Without any host
it is the first Unix socket that exists, else localhost. Without any database it is `postgres`.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

from connaudit.errors import UsageError
from connaudit.targets import Host, Secret, Target, pgpass, pgservice
from connaudit.targets.malformed import Malformed, nearest
from connaudit.targets.surroundings import Surroundings
from connaudit.targets.url import Parts, is_port

Values = dict[str, str | Secret]

# libpq 18's keywords with the environment variable that is the default of each. psycopg could list them, at 60 ms.
KEYWORDS: dict[str, str | None] = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "dbname": "PGDATABASE",
    "service": "PGSERVICE",
    "passfile": "PGPASSFILE",
    "channel_binding": "PGCHANNELBINDING",
    "options": "PGOPTIONS",
    "keepalives": None,
    "keepalives_idle": None,
    "keepalives_interval": None,
    "keepalives_count": None,
    "tcp_user_timeout": None,
    "sslmode": "PGSSLMODE",
    "sslnegotiation": "PGSSLNEGOTIATION",
    "sslcompression": "PGSSLCOMPRESSION",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslcertmode": "PGSSLCERTMODE",
    "sslpassword": None,
    "sslrootcert": "PGSSLROOTCERT",
    "sslcrl": "PGSSLCRL",
    "sslcrldir": "PGSSLCRLDIR",
    "sslsni": "PGSSLSNI",
    "requirepeer": "PGREQUIREPEER",
    "require_auth": "PGREQUIREAUTH",
    "min_protocol_version": "PGMINPROTOCOLVERSION",
    "max_protocol_version": "PGMAXPROTOCOLVERSION",
    "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION",
    "ssl_max_protocol_version": "PGSSLMAXPROTOCOLVERSION",
    "gssencmode": "PGGSSENCMODE",
    "krbsrvname": "PGKRBSRVNAME",
    "gsslib": "PGGSSLIB",
    "gssdelegation": "PGGSSDELEGATION",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
    "load_balance_hosts": "PGLOADBALANCEHOSTS",
    "scram_client_key": None,
    "scram_server_key": None,
    "oauth_issuer": None,
    "oauth_client_id": None,
    "oauth_client_secret": None,
    "oauth_scope": None,
}
_SECRETS = frozenset({"password", "sslpassword", "scram_client_key", "scram_server_key", "oauth_client_secret"})

# Known, and nothing to us: connaudit names itself, keeps its own clocks and chooses its encoding; the rest is what
# Django, Rails, Prisma and the like read from the same DATABASE_URL.
_PASSED_OVER = frozenset(
    (  # noqa: SIM905 - forty quoted words would hide the words
        "application_name fallback_application_name connect_timeout client_encoding sslkeylogfile "
        "conn_max_age conn_health_checks disable_server_side_cursors atomic_requests autocommit engine test "
        "pool pool_size pool_timeout max_overflow pool_max_conns pool_min_conns connection_limit pgbouncer encoding "
        "prepared_statements prepare_threshold preparethreshold statement_cache_size statement_cache_mode "
        "schema currentschema search_path reaping_frequency"
    ).split()
)
_UNREAD = "/is-not-read"  # beneath a file nothing exists, and libpq is silent about what does not exist
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_YES = frozenset({"true", "1", "yes", "on", "require"})


def from_url(parts: Parts) -> Target:
    """Return the target of a URL; options override the parts before them, as in libpq."""
    pairs = [("user", parts.user), ("password", parts.password), ("dbname", parts.database)]
    if parts.hosts:
        pairs += [("host", ",".join(name for name, _ in parts.hosts))]
        pairs += [("port", ",".join(port for _, port in parts.hosts))]
    given = [(key, value, 0) for key, value in pairs if value]
    return from_pairs([*given, *parts.query], "the URL")


def from_pairs(pairs: Sequence[tuple[str, str, int]], source: str = "the connection string") -> Target:
    """Return the target of keywords with their values and positions; the last of a repeated keyword counts."""
    values: Values = {}
    for key, value, position in pairs:
        name, plain = _known(key, value, position)
        if name:
            values[name] = Secret(plain) if name in _SECRETS and plain else plain
    return _build(values, Target("", "postgresql", (), password_from=source if values.get("password") else None))


def _known(key: str, value: str, position: int) -> tuple[str | None, str]:
    """Return libpq's keyword and value for an option; None for one that is passed over."""
    if key == "sslmode" and value and value not in _SSL_MODES:
        raise Malformed(f"not an sslmode; write one of {', '.join(_SSL_MODES)}", position)
    if key in KEYWORDS:
        return key, value
    folded = key.lower()
    if folded in ("ssl_require", "ssl"):  # Django's and JDBC's
        return ("sslmode", "require") if value.lower() in _YES else (None, "")
    if folded in _PASSED_OVER:
        return None, ""
    if folded == "replication":
        raise Malformed("connaudit does not open replication connections", position)
    raise Malformed(f"not an option that libpq knows{nearest(folded, list(KEYWORDS))}", position)


def _build(values: Values, target: Target) -> Target:
    """Return the target with hosts, user, database, password and options as the values say."""
    password = values.get("password")
    places = ("host", "hostaddr", "port", "user", "password", "dbname")
    return replace(
        target,
        hosts=_hosts(_text(values, "host"), _text(values, "hostaddr"), _text(values, "port")),
        user=_text(values, "user") or None,
        database=_text(values, "dbname") or None,
        password=password if isinstance(password, Secret) else None,
        options=tuple((key, value) for key, value in values.items() if key not in places and value != ""),
    )


def _text(values: Values, key: str) -> str:
    value = values.get(key, "")
    return value.reveal() if isinstance(value, Secret) else value


def _hosts(host: str, hostaddr: str, port: str) -> tuple[Host, ...]:
    """Return the places to try: lists of equal length, or one port for all; a name may be yet to be found."""
    names, addresses, ports = host.split(","), hostaddr.split(","), port.split(",")
    count = max(len(names), len(addresses))
    if (host and len(names) != count) or (hostaddr and len(addresses) != count):
        raise Malformed("there are not as many hosts as hostaddrs")
    if len(ports) not in (1, count):
        raise Malformed("there are not as many ports as hosts: give one port for all, or one for each")
    if any(text and not is_port(text) for text in ports):
        raise Malformed("a port is a number from 1 to 65535")
    names, addresses, ports = (texts * (count // len(texts)) for texts in (names, addresses, ports))
    return tuple(
        Host(name or address, int(number) if number else None, address or None)
        for name, address, number in zip(names, addresses, ports, strict=True)
    )


def complete(target: Target, around: Surroundings) -> Target:
    """Return the target with what it left open taken from service file, environment and defaults, in libpq's order.

    The service stays among the options, so that libpq reads the same one and not PGSERVICE's.
    """
    values, source = _values(target), target.password_from
    for defaults, origin in _defaults(target, around):
        placed = values.get("host") or values.get("hostaddr")
        kept = {key: value for key, value in defaults.items() if not (placed and key in ("host", "hostaddr"))}
        if "password" in kept and "password" not in values:
            source = origin
        values = {**kept, **values}
    values.setdefault("dbname", "postgres")
    if login := around.login:
        values.setdefault("user", login)
    try:
        built = _build(values, replace(target, password_from=source))
    except Malformed as malformed:
        why = malformed.why
    else:
        return _with_passfile(_located(built, around), around)
    raise UsageError(f"PGHOST, PGHOSTADDR, PGPORT or a service file: {why}")


def _values(target: Target) -> Values:
    """Return what a target says itself, as libpq's keywords."""
    hosts = target.hosts
    texts = {
        "host": ",".join(host.name for host in hosts),
        "hostaddr": ",".join(host.address or "" for host in hosts),
        "port": ",".join(str(host.port or "") for host in hosts),
        "user": target.user or "",
        "dbname": target.database or "",
    }
    given: Values = {key: value for key, value in texts.items() if value.strip(",")}
    password: Values = {"password": target.password} if target.password else {}
    return {**given, **password, **dict(target.options)}


def _defaults(target: Target, around: Surroundings) -> list[tuple[Values, str]]:
    """Return the sources of defaults, the stronger first, each with its name in words."""
    environment = {
        keyword: around.environment[variable]
        for keyword, variable in KEYWORDS.items()
        if variable and around.environment.get(variable)
    }
    sources = [(_guarded(environment), "PGPASSWORD")]
    service = target.option("service") or environment.get("service")
    if service:
        values, path = pgservice.find(service, around, {*KEYWORDS, *_PASSED_OVER, "replication"})
        kept = {key: value for key, value in values.items() if key in KEYWORDS}
        sources.insert(0, (_guarded(kept), f"service file {around.show(path)}"))
    return sources


def _guarded(values: Mapping[str, str]) -> Values:
    return {key: Secret(value) if key in _SECRETS and value else value for key, value in values.items()}


def _located(target: Target, around: Surroundings) -> Target:
    """Return the target with a name and a port for each host."""
    hosts = tuple(_locate(host, around) for host in target.hosts)
    return replace(target, hosts=hosts)


def _locate(host: Host, around: Surroundings) -> Host:
    port = host.port or 5432
    if host.name:
        return replace(host, port=port)
    sockets = (place for place in around.socket_directories if os.path.exists(f"{place}/.s.PGSQL.{port}"))
    return Host(next(sockets, "localhost"), port)


def _with_passfile(target: Target, around: Surroundings) -> Target:
    """Return the target with the password that its password file has for it.

    With several hosts libpq looks itself, host by host; a file that it would grumble about on stderr is kept from it.
    """
    if target.password:
        return target
    path = passfile(target, around)
    if pgpass.readable_by_others(path):
        options = {**dict(target.options), "passfile": path + _UNREAD}
        return replace(target, options=tuple(options.items()))
    found = [_lookup(path, host, target, around) for host in target.hosts]
    if not any(found):
        return target
    return replace(target, password=found[0] if len(found) == 1 else None, password_from=around.show(path))


def passfile(target: Target, around: Surroundings) -> str:
    """Return the path of the password file that serves this target, whether it exists or not."""
    return target.option("passfile") or around.environment.get("PGPASSFILE") or around.expand("~/.pgpass")


def _lookup(path: str, host: Host, target: Target, around: Surroundings) -> Secret | None:
    names = {host.name, "localhost"} if host.name in around.socket_directories else {host.name}
    return pgpass.lookup(path, names, host.port or 5432, target.database or "", target.user or "")


def warnings(target: Target, around: Surroundings) -> tuple[str, ...]:
    """Return what a user should know about how a complete target gets its password."""
    path = passfile(target, around)
    if not path.endswith(_UNREAD):
        return ()
    shown = around.show(path.removesuffix(_UNREAD))
    return (f"{shown} is readable by others and therefore not read; run: chmod 600 {shown}",)
