import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connaudit.render import Run, render
from connaudit.render.text import clean
from connaudit.report import Metric, Unit
from tests.render.builders import NASTY, PLAIN, SCENES, check, count, idle_tx, nasty, run, timed_out

VOID = {"meta"}
TAGS = {
    *("html", "head", "meta", "title", "style", "body", "header", "section", "h1", "h2", "h3", "p", "ul", "li"),
    *("div", "span", "strong", "table", "thead", "tbody", "tr", "th", "td"),
}
ATTRIBUTES = {"lang", "charset", "name", "content", "http-equiv", "class", "style"}


class Page(HTMLParser):
    """A page as a browser reads it; complains about tags that are not ours or not closed."""

    def __init__(self, found: Run) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(render("html", found, PLAIN))
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS
        assert {name for name, _ in attrs} <= ATTRIBUTES
        styles = [value or "" for name, value in attrs if name == "style"]
        assert all(re.fullmatch(r"--share:\d+\.\d%", value) for value in styles)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return "\n".join(self.words)


@pytest.mark.parametrize("scene", SCENES)
def test_every_scene_is_a_whole_page_of_our_own_tags(scene: str) -> None:
    Page(SCENES[scene])


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters()))
def test_any_text_is_only_text(text: str) -> None:
    assert clean(NASTY + text) in Page(run(nasty(NASTY + text))).words


def test_it_needs_nothing_from_anywhere() -> None:
    text = render("html", SCENES["check"], PLAIN)
    assert "<script" not in text
    assert not re.search(r"\b(src|href)=|url\(|@import", text)
    assert "default-src 'none'" in text


def test_a_reader_sees_verdicts_names_and_sentences() -> None:
    text = Page(check(count(), idle_tx(), timed_out())).text
    for words in (
        "2 targets: 1 critical, 1 not reachable",
        "94 of 97 usable connections in use (96.9%), 3 free",
        "cannot connect: timed out after 10.0s (tcp)",
        "UPDATE cart SET qty = ? WHERE id = ?",
        "2h14m",
    ):
        assert words in text


def test_headroom_is_a_bar_with_its_thresholds() -> None:
    text = render("html", run(count()), PLAIN)
    assert '<div class="track critical"><div class="fill" style="--share:96.9%"></div>' in text
    assert '<div class="mark" style="--share:80.0%"></div><div class="mark" style="--share:90.0%"></div>' in text
    assert "94 of 97" in text


def test_an_age_is_a_bar_and_one_below_its_thresholds_is_green() -> None:
    young = idle_tx(metrics=(Metric("idle_tx_oldest", 30, Unit.SECONDS, "60", "600", 0),))
    text = render("html", run(young), PLAIN)
    assert '<div class="track ok"><div class="fill" style="--share:4.0%"></div>' in text
    assert 'class="number age" style="--share:30.6%">41m03s' in text


def test_numbers_without_an_upper_end_have_no_bar() -> None:
    free = count(metrics=(Metric("free", 3, critical="3:", maximum=97),))
    assert 'class="track' not in render("html", run(free), PLAIN)
