"""The saved form of a snapshot."""

import dataclasses
import json
import typing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connaudit import snapshot as module
from connaudit.snapshot import Fact, Gap, Session, Snapshot, State, Transaction, Wait
from tests.builders import session, snapshot

TEXTS = st.text(max_size=30)


def anything(kind: Any) -> st.SearchStrategy[Any]:
    """Return values of an annotated type of the snapshot."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        return st.builds(kind, **{field.name: anything(hints[field.name]) for field in dataclasses.fields(kind)})
    if kind is float:
        return st.floats(0, 1e9, allow_nan=False)
    origin = typing.get_origin(kind)
    arms = typing.get_args(kind)
    if origin is tuple and arms[-1] is Ellipsis:
        return st.lists(anything(arms[0]), max_size=2).map(tuple)
    if origin is tuple:
        return st.tuples(*map(anything, arms))
    if origin is frozenset:
        return st.frozensets(anything(arms[0]))
    if type(None) in arms:
        return st.none() | anything(next(arm for arm in arms if arm is not type(None)))
    return TEXTS if kind is str else st.from_type(kind)


@given(original=anything(Snapshot))
def test_a_snapshot_comes_back_from_json_as_it_was(original: Snapshot) -> None:
    text = json.dumps(original.to_json())
    assert Snapshot.from_json(json.loads(text)) == original


def test_a_snapshot_of_an_older_version_is_read_and_unknown_keys_are_passed_over() -> None:
    saved = snapshot(session()).to_json()
    saved["added_later"] = 1
    saved["sessions"][0]["added_later"] = {"x": 1}
    assert Snapshot.from_json(saved) == snapshot(session())


def test_a_snapshot_of_a_newer_schema_is_refused() -> None:
    saved = snapshot().to_json() | {"schema": f"connaudit.snapshot/{module.SCHEMA + 1}"}
    with pytest.raises(ValueError, match="newer than this connaudit reads"):
        Snapshot.from_json(saved)


@pytest.mark.parametrize(
    "damage", [{"schema": "x"}, {"server": None}, {"sessions": [{"id": "x"}]}, {"capacity": 3}, {"taken_at": 1}]
)
def test_a_damaged_snapshot_is_refused_in_one_sentence(damage: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".+") as refused:
        Snapshot.from_json(snapshot().to_json() | damage)
    assert "\n" not in str(refused.value)


def test_what_was_not_told_stays_untold() -> None:
    untold = snapshot(Session(7, state=None), gaps=(Gap(Fact.STATES, "hidden"),))
    again = Snapshot.from_json(untold.to_json())
    assert again.sessions[0].state is None
    assert again.sessions[0].state_age is None
    assert again.gaps == untold.gaps


def test_clients_are_neither_ourselves_nor_background() -> None:
    listed = snapshot(session(id=5), session(id=6, kind=module.Kind.INTERNAL))
    assert [s.id for s in listed.clients] == [5]


def test_an_aborted_transaction_is_an_open_one() -> None:
    assert session(State.ABORTED).open_transaction
    assert not session(State.ACTIVE, transaction=Transaction(age=1.0), wait=Wait()).open_transaction
