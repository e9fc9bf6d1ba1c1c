"""libpq as psycopg binds it, without the rest of psycopg: that takes 50 ms and 6 MiB of every start.

The engine uses psycopg's module `pq` alone. To import a module runs its package first, and that brings all that psycopg
can do: asynchronous connections, COPY, adapters of types. So empty packages stand in their places meanwhile. Whoever
imports psycopg afterwards gets the whole of it, over the same `pq`.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING


@contextmanager
def hollow(*names: str) -> Iterator[None]:
    """Let packages be empty, but for their modules, as long as the block lasts; those that are loaded stay."""
    found = {name: spec for name in names if name not in sys.modules and (spec := find_spec(name))}
    for name, spec in found.items():
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__path__ = list(spec.submodule_search_locations or ())
    try:
        yield
    finally:
        for name in found:
            del sys.modules[name]


if TYPE_CHECKING:
    from psycopg import OperationalError, pq
    from psycopg.pq import abc
else:
    with hollow("psycopg", "psycopg_binary"):
        import psycopg.pq  # which imports psycopg.errors
    pq, abc, OperationalError = psycopg.pq, psycopg.pq.abc, psycopg.errors.OperationalError

__all__ = ["OperationalError", "abc", "pq"]
