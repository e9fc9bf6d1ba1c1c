"""The trees of lock waits: everybody once, nearest to a root, whatever the graph."""

from hypothesis import given
from hypothesis import strategies as st

from connaudit.diagnostics.forest import Branch, Head, Tree, forest
from connaudit.diagnostics.waits import next_behind, reached
from connaudit.snapshot import Wait


def grown(**waits: tuple[int, ...] | None) -> tuple[Tree, ...]:
    """Return the trees of waits given as w3=(1, 2); the higher its number, the shorter a session has waited."""
    waiting = {int(name[1:]): Wait(blocked_by=by) for name, by in waits.items()}
    return forest(waiting, lambda waiter: 1000.0 - waiter)


def test_a_chain_stands_one_below_the_other() -> None:
    assert grown(w2=(1,), w3=(2,), w4=(3,)) == (
        Tree(Head.ROOT, (1,), frozenset({2, 3, 4}), (Branch(2, 1, 2), Branch(3, 2, 1), Branch(4, 3, 0))),
    )


def test_everybody_in_a_queue_stands_below_the_first_who_holds_it_up() -> None:
    (tree,) = grown(w2=(1,), w3=(2,), w4=(2, 3))
    assert [(branch.id, branch.depth) for branch in tree.branches] == [(2, 1), (3, 2), (4, 2)]


def test_a_dense_queue_is_reduced_to_its_root() -> None:
    (tree,) = grown(w2=(1,), w3=(1, 2), w4=(1, 2, 3))
    assert tree.branches == (Branch(2, 1, 0), Branch(3, 1, 0), Branch(4, 1, 0))


def test_the_root_with_the_longest_queue_comes_first() -> None:
    assert [tree.root for tree in grown(w2=(1,), w11=(10,), w12=(10,))] == [10, 1]


def test_one_that_waits_for_two_roots_stands_once_and_counts_for_both() -> None:
    first, second = grown(w3=(1, 2), w4=(2,))
    assert (first.root, first.behind, [b.id for b in first.branches]) == (2, frozenset({3, 4}), [3, 4])
    assert (second.root, second.behind, second.branches) == (1, frozenset({3}), ())


def test_a_circle_is_cut_and_those_behind_it_stay() -> None:
    (tree,) = grown(w2=(3,), w3=(2,), w4=(3,))
    assert tree.head is Head.CYCLE
    assert tree.root is None
    assert tree.waiters == {2, 3, 4}
    assert {*tree.tops, *(branch.id for branch in tree.branches)} == {2, 3, 4}


def test_who_may_be_in_the_way_is_a_candidate_and_no_root() -> None:
    waiting = {5: Wait(candidates=(1, 2)), 6: Wait(candidates=(1, 2)), 7: Wait(blocked_by=(6,))}
    (tree,) = forest(waiting, lambda _: 1.0)
    assert (tree.head, tree.tops, tree.root, tree.waiters) == (Head.CANDIDATES, (1, 2), None, frozenset({5, 6, 7}))
    assert [(b.id, b.depth) for b in tree.branches] == [(5, 1), (6, 1), (7, 2)]


def test_a_known_root_counts_more_than_somebody_whose_own_blocker_is_not_told() -> None:
    waiting = {5: Wait(candidates=(9,)), 6: Wait(blocked_by=(1, 5))}
    known, untold = forest(waiting, lambda _: 1.0)
    assert (known.root, [b.id for b in known.branches]) == (1, [6])
    assert (untold.tops, [b.id for b in untold.branches]) == ((9,), [5])


def test_a_waiter_whose_blocker_has_gone_since_stands_alone() -> None:
    assert [(t.head, t.tops, t.root, t.waiters) for t in grown(w2=())] == [(Head.ALONE, (2,), None, frozenset({2}))]


IDS = st.integers(0, 12)
GRAPHS = st.dictionaries(
    IDS.filter(bool), st.builds(Wait, blocked_by=st.none() | st.lists(IDS).map(tuple), candidates=st.just((99,)))
)


@given(GRAPHS)
def test_every_waiter_stands_exactly_once(waiting: dict[int, Wait]) -> None:
    trees = forest(waiting, lambda _: 0.0)
    standing = [branch.id for tree in trees for branch in tree.branches]
    standing += [tree.tops[0] for tree in trees if tree.head in (Head.CYCLE, Head.ALONE)]
    assert sorted(standing) == sorted(waiting)


@given(GRAPHS)
def test_roots_wait_for_nobody_and_have_behind_them_all_that_can_be_reached(waiting: dict[int, Wait]) -> None:
    behind = next_behind({waiter: wait.blocked_by or () for waiter, wait in waiting.items()})
    trees = [tree for tree in forest(waiting, lambda _: 0.0) if tree.head is Head.ROOT]
    assert {tree.root for tree in trees} == behind.keys() - waiting.keys()
    assert all(tree.behind == reached(tree.tops[0], behind) for tree in trees)
    assert [len(tree.behind) for tree in trees] == sorted((len(tree.behind) for tree in trees), reverse=True)


@given(GRAPHS)
def test_everybody_stands_right_below_somebody_in_his_way(waiting: dict[int, Wait]) -> None:
    for tree in forest(waiting, lambda _: 0.0):
        above = {0: tree.tops[0]}
        for branch in tree.branches:
            above[branch.depth] = branch.id
            if tree.head is not Head.CANDIDATES or branch.depth > 1:
                assert above[branch.depth - 1] in (waiting[branch.id].blocked_by or ())


@given(GRAPHS)
def test_below_counts_those_that_stand_deeper_until_the_next_that_does_not(waiting: dict[int, Wait]) -> None:
    for tree in forest(waiting, lambda _: 0.0):
        for place, branch in enumerate(tree.branches):
            rest = tree.branches[place + 1 :]
            deeper = next((n for n, other in enumerate(rest) if other.depth <= branch.depth), len(rest))
            assert branch.below == deeper
