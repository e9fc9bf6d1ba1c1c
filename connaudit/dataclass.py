"""`dataclass`, made in a third of the time: a start makes seventy of them, and whoever starts connaudit waits for it.

dataclasses writes and compiles six methods for every frozen class, in 0.6 ms. But only `__init__` needs to be of the
class's own; how values are compared, hashed and shown is the same for all. `frozen` holds by the type checker alone,
which sees nothing but the decorator of dataclasses.
"""

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass  # noqa: PLC0414 - exported
else:

    def dataclass(*, frozen: bool = False, slots: bool = False, repr: bool = True, **features: bool) -> Any:
        """Return the decorator; its options are those of dataclasses that are in use here."""

        def make(kind: type) -> type:
            made = dataclasses.dataclass(kind, slots=slots, repr=False, eq=False, **features)
            made.__eq__ = _equal
            made.__hash__ = _hash if frozen else None
            if repr and "__repr__" not in kind.__dict__:
                made.__repr__ = _shown
            return made

        return make


def _values(self: Any) -> tuple[object, ...]:
    return tuple([getattr(self, name) for name in self.__dataclass_fields__])


def _equal(self: Any, other: object) -> Any:
    if self is other:
        return True
    return _values(self) == _values(other) if other.__class__ is self.__class__ else NotImplemented


def _hash(self: Any) -> int:
    return hash(_values(self))


def _shown(self: Any) -> str:
    shown = [f"{field.name}={getattr(self, field.name)!r}" for field in dataclasses.fields(self) if field.repr]
    return f"{type(self).__qualname__}({', '.join(shown)})"
