"""connaudit's dataclass is that of dataclasses, as far as it is used; a start is why it is not the same."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connaudit.dataclass import dataclass
from tests.test_layers import parsed


def made(maker: Callable[..., Any], **options: bool) -> Any:
    """Return the same class by either maker."""

    class Place:
        host: str
        port: int = 5432
        tags: tuple[str, ...] = dataclasses.field(default=(), repr=False)

        def __str__(self) -> str:
            return f"{self.host}:{self.port}"

    return maker(slots=True, **options)(Place)


ours, theirs = made(dataclass, frozen=True), made(dataclasses.dataclass, frozen=True)
places = st.tuples(st.sampled_from(["a", "b"]), st.sampled_from([1, 1.0, 2]), st.sampled_from([(), ("x",)]))


@given(places, places)
def test_values_are_compared_hashed_and_shown_alike(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    assert (ours(*one) == ours(*other)) == (theirs(*one) == theirs(*other))
    assert (hash(ours(*one)) == hash(ours(*other))) == (hash(theirs(*one)) == hash(theirs(*other)))
    assert repr(ours(*one)) == repr(theirs(*one))
    assert str(ours(*one)) == str(theirs(*one))


def test_another_class_is_never_equal() -> None:
    assert ours("a") != theirs("a")
    assert ours("a") != ("a", 5432, ())


def test_the_functions_of_dataclasses_know_it() -> None:
    assert dataclasses.replace(ours("a"), port=1) == ours("a", 1)
    assert dataclasses.asdict(ours("a")) == {"host": "a", "port": 5432, "tags": ()}
    assert [field.name for field in dataclasses.fields(ours)] == ["host", "port", "tags"]


def test_slots_leave_no_room_for_misspelt_fields() -> None:
    with pytest.raises(AttributeError):
        ours("a").prot = 1


def test_what_may_change_has_no_hash() -> None:
    with pytest.raises(TypeError):
        hash(made(dataclass)("a"))


def test_a_repr_of_its_own_stays() -> None:
    @dataclass(frozen=True, slots=True)
    class Secret:
        value: str

        def __repr__(self) -> str:
            return "***"

    assert repr(Secret("s3cr3t")) == "***"


def test_no_module_takes_the_slow_one() -> None:
    wrong = [
        name
        for name, tree in parsed()
        if name != "connaudit.dataclass"
        for node in tree.body
        if getattr(node, "module", None) == "dataclasses" and "dataclass" in {alias.name for alias in node.names}  # type: ignore[attr-defined]
    ]
    assert not wrong
