import re
import unicodedata

from hypothesis import example, given
from hypothesis import strategies as st

from connaudit.render.text import cell_width, clean, cut, fold, guarded, padded, to_ascii
from tests.render.builders import NASTY

ANY = st.text(st.characters())  # halves of surrogate pairs included
RUNNER_COMMAND = re.compile(r"^\s*::[A-Za-z-]+( [^:]*)?::")


@given(ANY)
@example(NASTY)
def test_cleaned_text_holds_nothing_that_cannot_be_seen(text: str) -> None:
    cleaned = clean(text)
    assert cleaned.isprintable()
    assert "  " not in cleaned
    assert cleaned == cleaned.strip(" ")
    assert "##[" not in cleaned
    invisible = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert not invisible & {unicodedata.category(character) for character in cleaned}


@given(ANY)
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    assert clean(clean(text)) == clean(text)


def test_ordinary_text_is_left_alone() -> None:
    for text in ("select 'ä' from 表 where x = '😀'", "worker [shop.wsgi]", "a\\b", ""):
        assert clean(text) == text


def test_each_kind_of_hidden_character_becomes_visible() -> None:
    assert clean("\x00\x1b\x7f\x85\x9b") == r"\x00\x1b\x7f\x85\x9b"
    assert (
        clean("\u202e\u2066\u200b\u200d\ufeff\u2028\u2029\u00ad") == r"\u202e\u2066\u200b\u200d\ufeff\u2028\u2029\xad"
    )
    assert clean("\ud800\udcff\ue000\u0378\U000e0041") == r"\ud800\udcff\ue000\u0378\U000e0041"
    assert clean("\u3164\ufe0f\u034f") == r"\u3164\ufe0f\u034f"


def test_runs_of_blanks_become_one() -> None:
    assert clean(" \tselect\r\n  \u00a0\u30001 ") == "select 1"


@given(ANY)
def test_ascii_text_is_ascii(text: str) -> None:
    assert to_ascii(clean(text)).isascii()
    assert to_ascii(clean(text)).isprintable()


@given(ANY, st.integers(0, 40))
@example("表表表表", 4)
@example("e\u0301" * 30, 5)
def test_cut_text_is_never_too_wide(text: str, width: int) -> None:
    short = cut(clean(text), width)
    assert cell_width(short) <= width
    assert short == clean(text) or short.endswith("..."[:width])


def test_a_wide_character_is_not_halved() -> None:
    assert cut("表表表表", 6) == "表..."
    assert cut("表表表表", 8) == "表表表表"


@given(ANY, st.integers(1, 40), st.integers(0, 10))
def test_folded_lines_are_never_too_wide_and_lose_no_word(text: str, width: int, indent: int) -> None:
    lines = fold(clean(text), width, indent)
    assert all(cell_width(line) <= width for line in lines)
    if width > 2 * indent + 1:
        kept = "".join("".join(line.split()) for line in lines)
        assert kept == "".join(guarded(word) if len(lines) > 1 else word for word in guarded(clean(text)).split(" "))


@given(ANY, st.integers(0, 40))
def test_padded_text_has_its_width(text: str, width: int) -> None:
    text = cut(clean(text), width)
    assert cell_width(padded(text, width)) == cell_width(padded(text, width, right=True)) == width


def test_no_text_that_may_begin_a_line_is_a_command_to_a_runner() -> None:
    for text in ("::error::boo", "::add-mask::x", "::set-output name=a::b", "::stop-commands::t"):
        assert RUNNER_COMMAND.match(text)
        assert not guarded(text).startswith("::")
    for address in ("::1", "::", "::ffff:10.0.0.1", "::1/128"):
        assert guarded(address) == address
