"""Pages about findings and topics, as plain text for a terminal of 80 columns.

The pages are Markdown files in connaudit/advice: CA101.md for a code, django.md for a topic. Of Markdown they use a
title, sections, paragraphs, lists, blocks of code, and words in `backticks` or **bold**; nothing else.
"""

import difflib
import re
import textwrap
from collections.abc import Iterable, Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable

from connaudit.errors import UsageError

WIDTH = 78
_CODE = re.compile(r"CA\d{3}")
_ITEM = re.compile(r"(?P<mark>- |\d+\. )(?P<text>.*)", re.DOTALL)
_BOLD = re.compile(r"\*\*(.+?)\*\*")
_BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def names() -> tuple[str, ...]:
    """Return the names of all pages: codes first, then topics."""
    found = [entry.name.removesuffix(".md") for entry in _directory().iterdir() if entry.name.endswith(".md")]
    return tuple(sorted(found, key=lambda name: (not is_code(name), name)))


def is_code(name: str) -> bool:
    """Return whether a page is that of a finding's code."""
    return _CODE.fullmatch(name) is not None


def page(name: str) -> str:
    """Return a page as it is written; UsageError names the nearest one where there is none of that name.

    Case does not matter, and `401` stands for CA401.
    """
    known = names()
    for spelling in (name.lower(), name.upper(), f"CA{name}"):
        if spelling in known:
            return (_directory() / f"{spelling}.md").read_text(encoding="utf-8")
    near = difflib.get_close_matches(name.upper(), known, 1) or difflib.get_close_matches(name.lower(), known, 1)
    guess = f"did you mean {near[0]}?" if near else "`connaudit explain` lists them all"
    raise UsageError(f"there is no page about {name!r}", hint=guess)


def title(name: str) -> str:
    """Return what a page is about, without its name."""
    first, _, _ = page(name).partition("\n")
    return first.partition(": ")[2]


def contents() -> str:
    """Return the list of all pages."""
    codes = [f"  {name}  {title(name)}" for name in names() if is_code(name)]
    topics = [name for name in names() if not is_code(name)]
    widest = max(map(len, topics))
    lines = [f"  {name:<{widest}}  {title(name)}" for name in topics]
    return "\n".join(["Codes of findings:", *codes, "", "Topics:", *lines, "", "Read one: connaudit explain CA101", ""])


def plain(markdown: str) -> str:
    r"""Return a page as plain text.

    >>> print(plain("# CA1: full\n\nIt is **full**.\n\n## Prove it\n\n```sql\nselect 1;\n```"))
    CA1: full
    =========
    <BLANKLINE>
    It is full.
    <BLANKLINE>
    Prove it
    --------
    <BLANKLINE>
        select 1;
    <BLANKLINE>
    """
    return "\n\n".join("\n".join(_shown(block)) for block in _blocks(markdown)) + "\n"


def _blocks(markdown: str) -> Iterator[str]:
    """Yield paragraphs, lists and blocks of code."""
    place = 0
    for code in _BLOCK.finditer(markdown):
        yield from _paragraphs(markdown[place : code.start()])
        yield code[0]
        place = code.end()
    yield from _paragraphs(markdown[place:])


def _paragraphs(text: str) -> Iterator[str]:
    yield from (part.strip() for part in re.split(r"\n\s*\n", text) if part.strip())


def _shown(block: str) -> Iterable[str]:
    if block.startswith("```"):
        return ["    " + line for line in block.splitlines()[1:-1]]
    if block.startswith("#"):
        words = block.lstrip("# ")
        return [words, ("=" if block.startswith("# ") else "-") * len(words)]
    if _ITEM.match(block):
        return [line for item in _items(block) for line in _wrapped_item(item)]
    return _wrapped(block)


def _items(block: str) -> list[str]:
    """Return the items of a list, each in one piece; what is indented goes on with the one before."""
    items: list[str] = []
    for line in block.splitlines():
        if _ITEM.match(line):
            items.append(line)
        else:
            items[-1] += "\n" + line
    return items


def _wrapped_item(item: str) -> list[str]:
    found = _ITEM.match(item)
    mark, text = (found["mark"], found["text"]) if found else ("", item)
    return _wrapped(text, mark, " " * len(mark))


def _wrapped(text: str, first: str = "", rest: str = "") -> list[str]:
    flat = _BOLD.sub(r"\1", " ".join(text.split()))
    return textwrap.wrap(
        flat, WIDTH, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )


def _directory() -> Traversable:
    return files("connaudit") / "advice"
