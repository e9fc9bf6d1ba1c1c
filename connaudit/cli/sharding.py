"""A fleet split over hosts or pods: each run audits its share, and together they audit every target once."""

import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

from connaudit.dataclass import dataclass
from connaudit.errors import UsageError

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Shard:
    """One share of several; `index` counts from 1."""

    index: int
    of: int

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return every `of`-th item from the `index`-th on: shares differ by one at most.

        >>> [Shard(index, 2).share("abcde") for index in (1, 2)]
        ['ace', 'bd']
        """
        return items[self.index - 1 :: self.of]


def read_shard(text: str) -> Shard:
    """Read `2/4`; ValueError says what to write."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise ValueError(f"{text!r} is not a share; write 1/4, 2/4, 3/4 or 4/4")
    return Shard(int(match[1]), int(match[2]))


def shard_of_job(environment: Mapping[str, str]) -> Shard | None:
    """Return the share of a pod of a Kubernetes indexed Job; None elsewhere.

    Kubernetes sets JOB_COMPLETION_INDEX, which counts from 0; JOB_COMPLETIONS is to be set in the pod's template.
    """
    index, of = environment.get("JOB_COMPLETION_INDEX"), environment.get("JOB_COMPLETIONS")
    if not index or not of:
        return None
    try:
        return read_shard(f"{int(index) + 1}/{int(of)}")
    except ValueError:
        raise UsageError(f"JOB_COMPLETION_INDEX {index} and JOB_COMPLETIONS {of} are no share of a job") from None
