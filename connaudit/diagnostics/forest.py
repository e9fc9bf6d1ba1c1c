"""The graph of lock waits as trees: each waiter stands once, below who holds it up, nearest to who waits for nobody.

A queue makes a dense graph, in which everybody waits for everybody ahead: what counts is its root, and the shortest
way there. A circle is cut at one of its members. Where a server does not tell who is in the way, waiters stand below
those who may be.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum

from connaudit.dataclass import dataclass
from connaudit.diagnostics.waits import next_behind, reached
from connaudit.snapshot import Wait


class Head(StrEnum):
    """What stands at the top of a tree."""

    ROOT = "root"  # waits for nobody, and is waited for
    CYCLE = "cycle"  # waits for somebody below itself: where a circle was cut
    CANDIDATES = "candidate"  # one or several who may be in the way: who is, is not told
    ALONE = "waiter"  # waits, and nobody is known to be in its way: nobody any more, or nobody who was told


@dataclass(frozen=True, slots=True)
class Branch:
    """One waiter in its tree."""

    id: int
    depth: int  # 1: next to the root
    below: int  # how many stand below it


@dataclass(frozen=True, slots=True)
class Tree:
    """One tree: its top, all that wait behind that, and those of them that stand in this tree, parents first."""

    head: Head
    tops: tuple[int, ...]  # one, or all the candidates
    behind: frozenset[int]  # also those that stand in another tree, because they wait for two roots
    branches: tuple[Branch, ...]

    @property
    def root(self) -> int | None:
        """Return who waits for nobody; None if that is not to be known, or if there is none."""
        return self.tops[0] if self.head is Head.ROOT else None

    @property
    def waiters(self) -> frozenset[int]:
        """Return who waits here: all behind the top, and the top itself where it waits, too."""
        return self.behind.union(self.tops) if self.head in (Head.CYCLE, Head.ALONE) else self.behind


def forest(waiting: Mapping[int, Wait], age: Callable[[int], float]) -> tuple[Tree, ...]:
    """Return the trees: roots first, by how many wait behind them; `age` tells how long one has waited."""
    order = sorted(waiting, key=lambda waiter: (-age(waiter), waiter))
    behind = next_behind({waiter: waiting[waiter].blocked_by or () for waiter in order})
    victims = _victims(behind.keys() - waiting.keys(), behind)
    roots = sorted(victims, key=lambda root: (-len(victims[root]), root))
    untold = [waiter for waiter in order if not waiting[waiter].blocked_by]
    parents: dict[int, int | None] = dict.fromkeys(untold)
    _adopt(roots, behind, parents)
    _adopt(untold, behind, parents)
    cut = _cut_circles(waiting, order, behind, parents)
    grown = _Grown(parents, behind, order)
    return (
        *(Tree(Head.ROOT, (root,), victims[root], grown.below(root)) for root in roots),
        *(grown.tree(Head.CYCLE, top) for top in cut),
        *_of_the_untold(waiting, untold, grown),
    )


def _victims(roots: Iterable[int], behind: Mapping[int, tuple[int, ...]]) -> dict[int, frozenset[int]]:
    """Return all that wait behind each root; roots for which the same ones wait at once, as for readers, share it."""
    shared: dict[tuple[int, ...], frozenset[int]] = {}
    found = {}
    for root in roots:
        if behind[root] not in shared:
            shared[behind[root]] = reached(root, behind)
        found[root] = shared[behind[root]]
    return found


def _adopt(tops: Iterable[int], behind: Mapping[int, tuple[int, ...]], parents: dict[int, int | None]) -> None:
    """Give every waiter behind these that has no parent yet the one that is nearest to a top."""
    level = list(tops)
    while level:
        below = []
        for blocker in level:
            for waiter in behind.get(blocker, ()):
                if waiter not in parents:
                    parents[waiter] = blocker
                    below.append(waiter)
        level = below


def _cut_circles(
    waiting: Mapping[int, Wait],
    order: Sequence[int],
    behind: Mapping[int, tuple[int, ...]],
    parents: dict[int, int | None],
) -> list[int]:
    """Return where circles are cut, and adopt all that wait in and behind them: everybody who was left."""
    cut = []
    for waiter in order:
        if waiter not in parents:
            top = _in_circle(waiter, waiting)
            parents[top] = None
            _adopt([top], behind, parents)
            cut.append(top)
    return cut


def _in_circle(waiter: int, waiting: Mapping[int, Wait]) -> int:
    """Return a member of the circle that one gets into by going from blocker to blocker."""
    seen = set()
    while waiter not in seen:
        seen.add(waiter)
        waiter = min(waiting[waiter].blocked_by or (waiter,))
    return waiter


def _of_the_untold(waiting: Mapping[int, Wait], untold: Iterable[int], grown: "_Grown") -> Iterable[Tree]:
    """Yield the trees of those of whom it is not told who is in their way: one for each set of candidates."""
    together: dict[tuple[int, ...], list[int]] = {}
    for waiter in untold:
        if waiting[waiter].candidates and waiting[waiter].blocked_by is None:
            together.setdefault(waiting[waiter].candidates, []).append(waiter)
        else:
            yield grown.tree(Head.ALONE, waiter)
    for candidates, waiters in together.items():
        behind = frozenset(waiters).union(*(reached(waiter, grown.behind) for waiter in waiters))
        yield Tree(Head.CANDIDATES, candidates, behind, grown.branches(waiters))


class _Grown:
    """Who stands below whom, once every waiter has its place."""

    def __init__(
        self, parents: Mapping[int, int | None], behind: Mapping[int, tuple[int, ...]], order: Iterable[int]
    ) -> None:
        self.behind = behind
        self._parents = parents
        self._children: dict[int | None, list[int]] = {}
        for waiter in order:
            self._children.setdefault(parents[waiter], []).append(waiter)

    def tree(self, head: Head, top: int) -> Tree:
        return Tree(head, (top,), reached(top, self.behind), self.below(top))

    def below(self, top: int) -> tuple[Branch, ...]:
        return self.branches(self._children.get(top, ()))

    def branches(self, waiters: Iterable[int]) -> tuple[Branch, ...]:
        """Return these and all below them, each before those below it."""
        depths: dict[int, int] = {}
        ahead = [(waiter, 1) for waiter in waiters][::-1]
        while ahead:
            waiter, depth = ahead.pop()
            depths[waiter] = depth
            ahead.extend((child, depth + 1) for child in reversed(self._children.get(waiter, ())))
        below = dict.fromkeys(depths, 0)
        for waiter in reversed(depths):
            parent = self._parents[waiter]
            if parent in below:
                below[parent] += below[waiter] + 1
        return tuple(Branch(waiter, depth, below[waiter]) for waiter, depth in depths.items())
