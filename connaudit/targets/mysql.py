"""MySQL and MariaDB targets: URLs, option files and the few environment variables that the clients read.

An option file serves a target that names no password or no host, as it serves the mysql client; `defaults_file=none`
keeps it out. A host named in a URL is reached over TCP, `localhost` too.
"""

import os
from collections.abc import Iterator
from dataclasses import replace

from connaudit.errors import ConfigError, UsageError
from connaudit.targets import Host, Secret, Target, mycnf
from connaudit.targets.malformed import Malformed, nearest
from connaudit.targets.surroundings import Surroundings
from connaudit.targets.url import Parts, is_port

SSL_MODES = ("DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY")
_FILES = ("ssl-ca", "ssl-capath", "ssl-cert", "ssl-key")
_OPTIONS = ("ssl-mode", *_FILES, "unix-socket", "socket", "defaults-file", "defaults-group", "defaults-group-suffix")
_GROUPS = ("client", "client-server", "client-mariadb")

# Known, and nothing to us: connaudit chooses its encoding and keeps its own clocks; the rest is what Django, Rails,
# SQLAlchemy and the like read from the same DATABASE_URL.
_PASSED_OVER = frozenset(
    (  # noqa: SIM905 - forty quoted words would hide the words
        "charset collation use-unicode connect-timeout read-timeout write-timeout timeout local-infile autocommit "
        "conn-max-age conn-health-checks atomic-requests engine test isolation-level sql-mode encoding "
        "pool pool-size pool-timeout max-overflow connection-limit reconnect prepared-statements "
    ).split()
)
_YES = frozenset({"", "1", "true", "yes", "on", "require"})
_NO = frozenset({"0", "false", "no", "off"})


def from_url(parts: Parts) -> Target:
    """Return the target of a URL; several hosts are addresses of one server, tried in turn."""
    options = _options(parts)
    socket = options.pop("unix-socket", None)
    hosts = tuple(Host(name, int(port) if port else None) for name, port in parts.hosts)
    return Target(
        "",
        "mysql",
        (Host(socket),) if socket else hosts,
        parts.user,
        parts.database,
        Secret(parts.password) if parts.password else None,
        "the URL" if parts.password else None,
        tuple(options.items()),
    )


def _options(parts: Parts) -> dict[str, str]:
    """Return the options that concern us, under their names with dashes."""
    options: dict[str, str] = {}
    for key, value, position in parts.query:
        name = key.lower().replace("_", "-")
        if name in ("socket", "unix-socket"):
            if not value.startswith("/"):
                raise Malformed("a Unix socket is an absolute path", position)
            options["unix-socket"] = value
        elif name in _OPTIONS and name != "ssl-mode":
            options[name] = value
        elif (mode := tls_mode(name, value)) is not None:
            if mode == "":
                raise Malformed(f"not an ssl-mode; write one of {', '.join(SSL_MODES)}", position)
            options["ssl-mode"] = _stronger(options.get("ssl-mode"), mode)
        elif name not in _PASSED_OVER:
            raise Malformed(f"not an option that connaudit knows{nearest(name, _OPTIONS)}", position)
    return options


def tls_mode(name: str, value: str) -> str | None:
    """Return the ssl-mode that an option asks for; "" if its value makes no sense, None if it is about something else.

    >>> tls_mode("ssl-mode", "verify_identity"), tls_mode("skip-ssl", ""), tls_mode("ssl-mode", "on")
    ('VERIFY_IDENTITY', 'DISABLED', '')
    """
    if name in ("ssl-mode", "sslmode"):
        mode = value.upper().replace("-", "_")
        mode = {"DISABLE": "DISABLED", "PREFER": "PREFERRED", "REQUIRE": "REQUIRED", "VERIFY_FULL": SSL_MODES[-1]}.get(
            mode, mode
        )
        return mode if mode in SSL_MODES else ""
    meanings = {  # what the option asks for when it says yes, and when it says no
        "ssl": ("REQUIRED", "DISABLED"),
        "ssl-require": ("REQUIRED", "PREFERRED"),
        "skip-ssl": ("DISABLED", "PREFERRED"),
        "ssl-disabled": ("DISABLED", "PREFERRED"),
        "ssl-verify-cert": ("VERIFY_CA", "PREFERRED"),
        "ssl-verify-server-cert": ("VERIFY_IDENTITY", "PREFERRED"),
        "ssl-verify-identity": ("VERIFY_IDENTITY", "PREFERRED"),
        "ssl-check-hostname": ("VERIFY_IDENTITY", "PREFERRED"),
    }
    if name not in meanings:
        return None
    yes, no = meanings[name]
    return yes if value.lower() in _YES else no if value.lower() in _NO else ""


def _stronger(mode: str | None, other: str) -> str:
    """Return the mode of two that asks for more, so that ssl-verify-server-cert=0 takes back no demand for TLS."""
    return max(mode or other, other, key=SSL_MODES.index)


def complete(target: Target, around: Surroundings) -> Target:
    """Return the target with what it left open taken from option files, environment and defaults."""
    found = _from_files(target, around) if _asks_for_files(target) else {}
    environment = around.environment
    password, source = target.password, target.password_from
    if not password and found.get("password"):
        value, where = found["password"]
        password, source = Secret(value), around.show(where.rpartition(" line ")[0])
    if not password and environment.get("MYSQL_PWD"):
        password, source = Secret(environment["MYSQL_PWD"]), "MYSQL_PWD"
    plain = {key: value for key, (value, _) in found.items()}
    return replace(
        target,
        hosts=tuple(_host(host, plain, around) for host in target.hosts or (None,)),
        user=target.user or plain.get("user") or around.login,
        database=target.database or plain.get("database") or None,
        password=password,
        password_from=source,
        options=_tls_options(target, plain),
    )


def _asks_for_files(target: Target) -> bool:
    if (target.option("defaults-file") or "").lower() == "none":
        return False
    named = any(target.option(key) for key in ("defaults-file", "defaults-group", "defaults-group-suffix"))
    return named or not target.password or not target.hosts


def _from_files(target: Target, around: Surroundings) -> dict[str, tuple[str, str]]:
    """Return what the groups that concern a target say: (value, where) by key; what stands later wins."""
    wanted, own = _wanted_groups(target, around)
    found: dict[str, tuple[str, str]] = {}
    seen = set()
    for path in _paths(target, around):
        for option in mycnf.read(path):
            seen.add(option.group)
            if option.group in wanted:
                _keep(option, found)
    if own and own not in seen:
        raise ConfigError("no option file has the defaults_group that was asked for" + nearest(own, sorted(seen)))
    return found


def _wanted_groups(target: Target, around: Surroundings) -> tuple[set[str], str | None]:
    """Return the groups to read, and the one that must exist."""
    own = target.option("defaults-group")
    suffix = target.option("defaults-group-suffix") or around.environment.get("MYSQL_GROUP_SUFFIX")
    groups = {*_GROUPS, own} if own else set(_GROUPS)
    return groups | {f"{group}{suffix}" for group in groups if suffix}, own


def _paths(target: Target, around: Surroundings) -> Iterator[str]:
    """Yield the option files to read; the usual ones only where they can be read, as the clients do."""
    own = target.option("defaults-file")
    if own:
        yield around.expand(own)
        return
    for path in (*around.option_files, around.expand("~/.my.cnf")):
        if os.access(path, os.R_OK):
            yield path


def _keep(option: mycnf.Option, found: dict[str, tuple[str, str]]) -> None:
    """Take one option over, or say where it makes no sense."""
    if (
        option.key in ("user", "password", "host", "socket", "protocol", "database", *_FILES)
        and option.value is not None
    ):
        found[option.key] = (option.value, option.where)
    elif option.key == "port" and option.value is not None:
        if not is_port(option.value):
            raise ConfigError(f"{option.where}: a port is a number from 1 to 65535")
        found["port"] = (option.value, option.where)
    elif (mode := tls_mode(option.key, option.value or "")) is not None:
        if mode == "":
            raise ConfigError(f"{option.where}: not an ssl-mode; write one of {', '.join(SSL_MODES)}")
        before = found.get("ssl-mode", (None,))[0] if option.key != "ssl-mode" else None
        found["ssl-mode"] = (_stronger(before, mode), option.where)


def _host(given: Host | None, plain: dict[str, str], around: Surroundings) -> Host:
    """Return where to connect: what was given, else as the client decides between socket and TCP.

    One rule is not the client's: a port without any socket beside it means TCP, not the usual socket.
    """
    if given and given.is_socket:
        return given
    if given and given.port:
        return replace(given, name=given.name or "localhost")
    number = _port(plain, around)
    if given and given.name:
        return replace(given, port=number or 3306)
    name = plain.get("host") or around.environment.get("MYSQL_HOST") or "localhost"
    if name == "localhost" and plain.get("protocol", "").lower() != "tcp":
        usual = () if number else (path for path in around.socket_files if os.path.exists(path))
        if socket := plain.get("socket") or around.environment.get("MYSQL_UNIX_PORT") or next(iter(usual), None):
            return Host(socket)
    return Host(name, number or 3306)


def _port(plain: dict[str, str], around: Surroundings) -> int | None:
    port = plain.get("port") or around.environment.get("MYSQL_TCP_PORT")
    if port and not is_port(port):
        raise UsageError("MYSQL_TCP_PORT: a port is a number from 1 to 65535")
    return int(port) if port else None


def _tls_options(target: Target, plain: dict[str, str]) -> tuple[tuple[str, str | Secret], ...]:
    """Return the options that an engine needs; a CA without an ssl-mode means VERIFY_CA, as in MySQL's clients."""
    options = {key: plain[key] for key in ("ssl-mode", *_FILES) if plain.get(key)}
    options |= {key: str(value) for key, value in target.options if key in ("ssl-mode", *_FILES)}
    if "ssl-mode" not in options and ("ssl-ca" in options or "ssl-capath" in options):
        options["ssl-mode"] = "VERIFY_CA"
    return tuple(options.items())
