"""PostgreSQL's service files: `[shop]` and what libpq is to connect with.

Read here so that the address a report shows is the one that was really used.
"""

import os
from collections.abc import Collection

from connaudit.errors import ConfigError, UsageError
from connaudit.targets.malformed import nearest
from connaudit.targets.surroundings import Surroundings


def find(service: str, around: Surroundings, known: Collection[str]) -> tuple[dict[str, str], str]:
    """Return a service's keywords, and the file that defines it, as libpq finds it.

    Raises UsageError for a service that no file defines, ConfigError for a file that libpq would refuse.
    """
    seen: list[str] = []
    for path in _files(around):
        services = _read(path, known)
        if service in services:
            return services[service], path
        seen += services
    hint = nearest(service, seen)
    raise UsageError(f"no service file defines the service that was asked for{hint}", hint="see ~/.pg_service.conf")


def _files(around: Surroundings) -> list[str]:
    environment = around.environment
    own = environment.get("PGSERVICEFILE") or around.expand("~/.pg_service.conf")
    directories = [environment["PGSYSCONFDIR"]] if environment.get("PGSYSCONFDIR") else around.service_directories
    shared = [f"{directory}/pg_service.conf" for directory in directories]
    if environment.get("PGSERVICEFILE") and not os.path.exists(own):
        raise ConfigError(f"PGSERVICEFILE: {own}: no such file")
    return [path for path in (own, *shared) if os.path.exists(path)]


def _read(path: str, known: Collection[str]) -> dict[str, dict[str, str]]:
    """Return all services of a file; values are taken as they stand, blanks around `=` are an error as in libpq."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().split("\n")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    services: dict[str, dict[str, str]] = {}
    service: dict[str, str] | None = None
    for number, line in enumerate(map(str.strip, lines), 1):
        if line.startswith("["):
            service = services.setdefault(line[1:].partition("]")[0], {})
        elif line and not line.startswith("#") and service is not None:
            key, equals, value = line.partition("=")
            _refuse(f"{path} line {number}", key, equals, known)
            service.setdefault(key, value)
    return services


def _refuse(where: str, key: str, equals: str, known: Collection[str]) -> None:
    if key.startswith("ldap"):
        raise ConfigError(f"{where}: connaudit does not look services up by LDAP")
    if not equals:
        raise ConfigError(f"{where}: write keyword=value, without blanks around the =")
    if key == "service" or key not in known:
        raise ConfigError(f"{where}: not a keyword that a service may have{nearest(key, list(known))}")
