"""What only this machine knows of an audit: where the password came from, who can read it, what cron will lack."""

import os
import pwd
import shutil
import stat
import sys
from collections.abc import Iterator

from connaudit.cli.planning import Setup
from connaudit.configuration import Configured
from connaudit.diagnostics.doctor import is_remote
from connaudit.diagnostics.points import Point
from connaudit.report import Status
from connaudit.targets import Target
from connaudit.targets.postgresql import KEYWORDS

CRON_PATH = "/usr/bin:/bin"
VERIFYING = ("verify-full", "verify-ca", "VERIFY_IDENTITY", "VERIFY_CA")
DISABLED = ("disable", "DISABLED")
MYSQL_VARIABLES = ("MYSQL_HOST", "MYSQL_TCP_PORT", "MYSQL_UNIX_PORT", "MYSQL_PWD", "MYSQL_GROUP_SUFFIX")
OF_ORIGIN = {"MYSQL_HOST": ("MYSQL_USER", "MYSQL_PASSWORD", "MYSQL_DATABASE")}


def points(target: Target, setup: Setup) -> Iterator[Point]:
    """Yield the points of one target."""
    own = setup.configuration.targets.get(target.name) if target.origin == "config" else None
    yield _verification(target)
    yield _password(target)
    for path in _files(own, setup):
        yield _file(path, is_secret=path not in setup.configuration.files)
    yield from _cron(target, own, setup)


def _verification(target: Target) -> Point:
    """Return whether the server has to prove who it is."""
    host, mode = target.hosts[0].name, target.option("sslmode") or target.option("ssl-mode")
    value = f"{mode or 'the default'} ({'sslmode' if target.engine == 'postgresql' else 'ssl-mode'})"
    if not is_remote(host) or mode in VERIFYING:
        return Point(Status.OK, "CA802", "certificate", value)
    if mode in DISABLED:
        return Point(Status.OK, "CA802", "certificate", f"{value}: no TLS is wanted")
    better = "sslmode=verify-full&sslrootcert=system" if target.engine == "postgresql" else "ssl-mode=VERIFY_IDENTITY"
    message = f"the certificate of {host} is not verified: whoever stands in between may answer in its place"
    return Point(Status.WARNING, "CA802", "certificate", value, message, f"add {better} to the target")


IN_ITSELF = ("the URL", "the connection string")  # where a password may stand that is in what names the target


def _password(target: Target) -> Point:
    where = target.password_from
    if target.origin == "argument" and where in IN_ITSELF:
        message = "a password given as an argument is visible to everybody in ps"
        return Point(Status.WARNING, "CA807", "password", "the argument", message, "use env:DATABASE_URL or file:PATH")
    if where is None:
        return Point(Status.OK, "CA807", "password", "none: the server lets us in by another proof, or trusts us")
    return Point(Status.OK, "CA807", "password", f"from {where}")


def _files(own: Configured | None, setup: Setup) -> Iterator[str]:
    """Yield the files that this audit read: the configuration's, and the password's."""
    yield from setup.configuration.files
    if own and "password_file" in own.sources:
        path = str(own.sources["password_file"])
        for name, text in setup.call.environment.items():
            path = path.replace(f"${{{name}}}", text)
        yield path


def _file(path: str, *, is_secret: bool) -> Point:
    try:
        mode = stat.S_IMODE(os.stat(path).st_mode)
    except OSError as error:
        reason = error.strerror or "cannot be looked at"
        return Point(
            Status.WARNING, "CA807", "file", path, f"{path}: {reason.lower()}", "see the target's password_file"
        )
    value = f"{mode:04o} {path}"
    if mode & 0o022:
        message = f"{path} can be changed by others, and with it who is audited and which programs are run"
        return Point(Status.WARNING, "CA807", "file", value, message, f"chmod go-w {path}")
    if is_secret and mode & 0o077:
        return Point(Status.WARNING, "CA807", "file", value, f"{path} can be read by others", f"chmod 600 {path}")
    return Point(Status.OK, "CA807", "file", value)


def _cron(target: Target, own: Configured | None, setup: Setup) -> Iterator[Point]:
    """Yield what will be different under cron: no variables, hardly any PATH, the home of passwd, no terminal."""
    variables = list(_variables(target, own, setup))
    if variables:
        named = ", ".join(variables)
        message = f"cron will not set what is set here: {named}"
        hint = "keep targets and settings in a file (connaudit config init), or set these in the crontab"
        yield Point(Status.WARNING, "CA808", "cron: variables", named, message, hint)
    else:
        yield Point(Status.OK, "CA808", "cron: variables", "none are in use")
    yield _home(setup)
    yield Point(Status.OK, "CA808", "cron: program", _program())
    if own and "password_command" in own.sources:
        yield _command(str(own.sources["password_command"][0]))


def _variables(target: Target, own: Configured | None, setup: Setup) -> Iterator[str]:
    """Yield the variables that this audit made use of."""
    environment = setup.call.environment
    yield from sorted(name for name in environment if name.startswith("CONNAUDIT_") and environment[name])
    origin = target.origin.partition(" line ")[0].removeprefix("env:")
    if origin in environment:
        yield origin
        yield from (name for name in OF_ORIGIN.get(origin, ()) if environment.get(name))
    native = [name for name in KEYWORDS.values() if name] if target.engine == "postgresql" else list(MYSQL_VARIABLES)
    yield from (name for name in sorted(native) if environment.get(name) and name != origin)
    for name in (own.sources.get("password_env"),) if own else ():
        if name:
            yield str(name)
    if environment.get("XDG_CONFIG_HOME"):
        yield "XDG_CONFIG_HOME"


def _home(setup: Setup) -> Point:
    ours = setup.call.environment.get("HOME")
    try:
        theirs = pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:  # a container's user without a name: it has no crontab either
        return Point(Status.OK, "CA808", "cron: home", ours or "none")
    if ours in (None, theirs):
        return Point(Status.OK, "CA808", "cron: home", theirs)
    message = f"the home is {ours} here and {theirs} for cron, which will look there for configuration and passwords"
    return Point(Status.WARNING, "CA808", "cron: home", str(ours), message, "name the file: --config FILE")


def _program() -> str:
    """Return what to write in a crontab."""
    if shutil.which("connaudit", path=CRON_PATH):
        return "connaudit is on its PATH"
    return f"write {os.path.abspath(sys.argv[0])}"


def _command(program: str) -> Point:
    subject = "cron: password_command"
    if shutil.which(program, path=CRON_PATH):
        return Point(Status.OK, "CA808", subject, program)
    message = f"{program} is not on cron's PATH, {CRON_PATH}"
    return Point(Status.WARNING, "CA808", subject, program, message, "write its whole path in password_command")
