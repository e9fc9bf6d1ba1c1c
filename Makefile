# The door to everything; a virtual environment in .venv is made when it is missing, and nothing else is touched.
#   make demo       a throwaway PostgreSQL with good and bad clients, and connaudit looking at it
#   make test       all tests, on PostgreSQL and MariaDB servers of their own; T=tests/targets K=pattern to choose
#   make check      what a reviewer would say: ruff, mypy
#   make fix        ... and what of it can be mended by itself
#   make docs       makes the generated parts of README.md again; make check-readme says whether they are current
#   make bench      how fast it is beside what people use instead; ONLY=starts to choose, bench-record for the README
#   make matrix     engines, scenes and manners on each server of $CONNAUDIT_TEST_SERVERS
#   make mutants    mistakes that auditors are known for, made in a copy: the tests must notice each
#   make record     what each of those servers tells, into tests/snapshots, for tests that need none

PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test check fix docs check-readme matrix mutants record servers
.DEFAULT_GOAL := test

demo: .venv/installed
	$(BIN)/connaudit demo

test: .venv/installed-test servers
	$(BIN)/python -m pytest $(T) $(if $(K),-k '$(K)')

check: .venv/installed-test .venv/installed-lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

fix: .venv/installed-lint
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: .venv/installed
	$(BIN)/python -m tests.readme

check-readme: .venv/installed
	$(BIN)/python -m tests.readme --check

matrix: .venv/installed-test
	$(BIN)/python -m tests.matrix $(or $(T),tests/engines tests/test_scenes.py tests/test_guest.py tests/diagnostics/test_blocking_on_servers.py tests/diagnostics/test_hints_on_servers.py tests/diagnostics/test_peers.py)

mutants: .venv/installed-test servers
	$(BIN)/python -m tests.mutants

record: .venv/installed-test
	$(BIN)/python -m tests.record $(T)

bench: .venv/installed-test servers
	$(BIN)/python -m tests.benchmarks $(if $(ONLY),--only $(ONLY))

bench-record: .venv/installed-test servers
	$(BIN)/python -m tests.benchmarks $(if $(ONLY),--only $(ONLY)) --record README.md

# Where somebody names a directory of servers, those are the servers.
servers: .venv/installed
	$(if $(CONNAUDIT_TEST_SERVERS),,$(BIN)/python tests/servers/install.py)

.venv/installed: pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet --editable '.[demo]'
	touch $@

# One dependency group of pyproject.toml; pip knows groups since 25.1 only.
.venv/installed-%: pyproject.toml .venv/installed
	$(BIN)/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['dependency-groups']['$*'], sep='\n')" > .venv/group-$*
	$(BIN)/pip install --quiet --requirement .venv/group-$*
	touch $@

# Debian's python3 makes no virtual environments without the package python3-venv.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "connaudit needs Python 3.11 or newer; name one: make PYTHON=...")'
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	    { test "$$(id -u)" = 0 && apt-get -qq update && apt-get -qq install -y --no-install-recommends python3-venv; } || \
	    { echo "this Python cannot make virtual environments; run: sudo apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv .venv
