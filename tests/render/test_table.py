import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connaudit.render import Style, render
from connaudit.render.text import cell_width
from connaudit.render.words import gap_sentences
from connaudit.report import Column, Outcome, Show, Status, Table, Unit, Value
from connaudit.snapshot import Fact, Gap
from tests.render.builders import (
    NASTY,
    PLAIN,
    SCENES,
    SESSION_ROWS,
    STARTED,
    TERMINAL,
    blind,
    check,
    count,
    full,
    healthy,
    idle_tx,
    nasty,
    run,
    source,
    timed_out,
)

ANSI = re.compile(r"\x1b\[[0-9;]*m")


def table(*outcomes: Outcome, style: Style = PLAIN, command: str = "idle-tx") -> str:
    return render("table", run(*outcomes, command=command), style)


def test_count_shows_server_verdict_states_and_groups() -> None:
    assert table(count(), command="count").splitlines() == [
        "prod-eu  PostgreSQL 16.4  db.eu.example.net:5432/shop as monitor",
        "",
        "CRITICAL  94 of 97 usable connections in use (96.9%), 3 free",
        "          max_connections 100, 3 reserved for superusers; connaudit's own session not counted",
        "          hint: see who holds them below; raise max_connections last",
        "          more: connaudit explain CA101",
        "",
        "STATE                COUNT  OLDEST",
        "idle                    61   3h12m",
        "idle in transaction     19   2h14m",
        "active                  14       -",
        "",
        "APP                           USER         COUNT",
        "gunicorn: worker [shop.wsgi]  shop_web        58",
        "celery@worker                 shop_celery     30",
        "",
        "showing 2 of 6, most first",
    ]


def test_a_target_named_after_its_address_is_not_named_twice() -> None:
    header = table(healthy("db.eu.example.net:5432/shop")).splitlines()[0]
    assert header == "db.eu.example.net:5432/shop  PostgreSQL 16.4  as monitor"


def test_where_a_target_came_from_is_said_unless_it_is_plain_to_see() -> None:
    told = replace(healthy(), source=source(origin="DATABASE_URL"))
    assert table(told).splitlines()[0].endswith("as monitor  (from DATABASE_URL)")


def test_a_list_of_sessions_ends_with_the_verdict() -> None:
    lines = table(idle_tx()).splitlines()
    assert lines[2].split() == ["PID", "IDLE", "TX", "AGE", "DB", "USER", "APP", "CLIENT", "BLOCKS", "LAST", "QUERY"]
    assert lines[3].startswith("48211   2h14m   2h14m  shop  shop_web ")
    assert lines[6].startswith("CRITICAL  19 sessions idle in transaction")


def test_off_a_terminal_a_record_is_one_uncut_line_of_ascii() -> None:
    long = "x" * 300
    row = (*SESSION_ROWS[0][:5], long, None, STARTED, 0, long + "表\n", "masked")
    text = table(idle_tx(rows=(row, row)))
    lines = [line for line in text.splitlines() if long in line]
    assert len(lines) == 2
    assert all(line.endswith(long + r"\u8868") for line in lines)
    assert text.isascii()
    assert set(map(len, lines)) == {len(lines[0])}


def test_what_the_stream_can_carry_is_not_escaped() -> None:
    assert "表" in table(nasty(), style=Style(unicode=True))


def test_unknown_is_a_dash_and_never_zero() -> None:
    line = next(line for line in table(idle_tx()).splitlines() if line.startswith("48377"))
    assert line.split("  ")[-1] != "0"
    assert re.search(r"celery@worker-3 +- +0  SELECT", line)


def test_an_empty_text_is_not_an_unknown_one() -> None:
    row = (*SESSION_ROWS[0][:5], "", *SESSION_ROWS[0][6:])
    assert re.search(r'shop_web +"" +10\.4\.1\.17', table(idle_tx(rows=(row,))))


def test_without_header_only_rows_and_verdict_stay() -> None:
    lines = table(idle_tx(), style=Style(header=False)).splitlines()
    assert lines[0].startswith("48211")
    assert "PID" not in "\n".join(lines)


def test_wide_shows_what_a_table_leaves_out_but_no_raw_data() -> None:
    text = render("wide", run(idle_tx(), command="idle-tx"), replace(TERMINAL, color=False, utc=True, width=40))
    assert "STARTED" in text
    assert "2026-11-22 07:41:09Z" in text
    assert "SQL MODE" not in text
    assert "FOR UPDATE" in text
    assert "STARTED" not in table(idle_tx())


def test_a_narrow_terminal_drops_the_least_important_columns_and_names_them() -> None:
    text = table(idle_tx(), style=replace(TERMINAL, width=80, color=False))
    assert "hidden at this width: app, client; use -f wide or --json" in text
    assert "APP" not in text
    assert "UPDATE cart SET qty = ? W" in text
    assert "48377" in text


def test_a_very_narrow_terminal_gets_blocks_never_an_empty_table() -> None:
    lines = table(idle_tx(), style=replace(TERMINAL, width=15, color=False)).splitlines()
    assert "pid: 48211" in lines
    assert "pid: 48377" in lines
    assert "idle: 2h14m" in lines
    assert max(map(len, lines)) <= 15


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("width", [1, 3, 9, 10, 15, 23, 24, 40, 41, 80, 120, 400])
def test_no_line_is_wider_than_the_terminal(scene: str, width: int) -> None:
    for color in (False, True):
        text = render("table", SCENES[scene], replace(TERMINAL, width=width, color=color))
        lines = [ANSI.sub("", line) for line in text.splitlines()]
        too_wide = [line for line in lines if cell_width(line) > max(width, len("CRITICAL"))]
        assert not too_wide


def test_markup_emoji_and_links_are_only_text() -> None:
    hostile = "[/] [red]x[/red] :smile: [link=file:///etc]a[/link]"
    rows: tuple[tuple[Value, ...], ...] = ((*SESSION_ROWS[0][:9], hostile, "masked"),)
    assert hostile in table(idle_tx(rows=rows), style=replace(TERMINAL, width=200))


def test_colour_is_only_where_it_was_asked_for_and_the_word_stays() -> None:
    assert "\x1b" not in table(count(), style=replace(TERMINAL, color=False))
    coloured = table(count(), style=TERMINAL)
    assert "\x1b[1;31mCRITICAL\x1b[0m" in coloured
    assert ANSI.sub("", coloured) == table(count(), style=replace(TERMINAL, color=False))


def test_a_terminal_and_a_pipe_show_the_same_table() -> None:
    roomy = Style(width=300, is_terminal=True)
    assert table(idle_tx(), style=roomy) == table(idle_tx())
    assert table(count(), timed_out(), style=roomy) == table(count(), timed_out())


def test_many_rows_on_a_terminal_need_no_rich_and_still_fit() -> None:
    rows = tuple((pid, *SESSION_ROWS[0][1:]) for pid in range(51))
    text = table(idle_tx(rows=rows), style=replace(TERMINAL, width=80))
    assert sum("shop_web" in line for line in text.splitlines()) == 51
    assert all(cell_width(ANSI.sub("", line)) <= 80 for line in text.splitlines())


def test_rows_that_were_cut_off_are_counted() -> None:
    text = table(idle_tx(), style=Style(limit=1))
    assert "showing 1 of 2, oldest first\nCRITICAL" in text
    assert "48377" not in text
    assert "showing" not in table(idle_tx(), style=Style(limit=2))


def test_targets_with_a_brief_are_rows_in_configured_order() -> None:
    lines = table(count("b"), timed_out("c"), count("a"), command="count").splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["b", "c", "a"]
    assert lines[1].split() == ["b", "CRITICAL", "94", "97", "96.9%"]
    assert lines[2].split() == ["c", "UNKNOWN", "-", "-", "-"]
    assert "UNKNOWN   c: cannot connect: timed out after 10.0s (tcp)" in lines
    assert lines[-1] == "CRITICAL  3 targets: 2 critical, 1 not reachable"
    assert "gunicorn" not in "".join(lines)


def test_verbose_tells_what_it_took() -> None:
    quick = replace(count(), source=source(stages=(("tcp", 0.002), ("query", 0.0124))))
    assert "took: tcp 2ms, query 12ms" in table(quick, style=Style(verbose=True), command="count").splitlines()
    assert "took" not in table(quick, style=Style(), command="count")


def test_verbose_adds_the_details_of_each_target() -> None:
    text = table(count("b"), count("a"), style=Style(verbose=True), command="count")
    assert text.count("gunicorn: worker [shop.wsgi]") == 2


def test_sort_by_status_puts_the_worst_first() -> None:
    well = count("well", status=Status.OK)
    text = table(well, timed_out("lost"), count("bad"), style=Style(sort=("status", True)), command="count")
    assert [line.split()[0] for line in text.splitlines()[1:4]] == ["bad", "lost", "well"]


def test_rows_of_several_targets_stand_below_a_target_column() -> None:
    lines = table(idle_tx("a"), timed_out("b"), idle_tx("c")).splitlines()
    assert lines[0].split()[:2] == ["TARGET", "PID"]
    assert [line.split()[0] for line in lines[1:5]] == ["a", "a", "c", "c"]
    assert [line.split()[1] for line in lines if re.match(r"CRITICAL|UNKNOWN", line)] == ["a:", "b:", "c:", "3"]


def test_check_leaves_out_what_is_well_unless_all_is() -> None:
    mixed = check(count(), healthy(), timed_out())
    lines = render("table", mixed, PLAIN).splitlines()
    assert [line.split()[:3] for line in lines[:3]] == [
        ["TARGET", "CHECK", "STATUS"],
        ["prod-eu", "count", "CRITICAL"],
        ["prod-us", "*", "UNKNOWN"],
    ]
    assert "timed out after 10.0s (tcp)" in lines[2]
    assert lines[-1] == "CRITICAL  2 targets: 1 critical, 1 not reachable"
    assert "blocking" in render("table", mixed, Style(verbose=True))
    assert "blocking" in render("table", check(healthy()), PLAIN)


def test_a_full_server_is_a_finding_not_an_absence() -> None:
    assert "CRITICAL  2 targets: 2 critical" in table(count(), full(), command="count")
    assert "CRITICAL  server is full: sorry" in table(full())


def test_what_was_not_seen_is_said_with_its_cure() -> None:
    cure = "not seen: states of other users' sessions are hidden; to see it: GRANT pg_monitor TO monitor;"
    assert cure in table(blind())
    assert f"prod-eu: {cure}" in render("table", check(blind()), PLAIN)


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters()), st.integers(10, 90))
def test_no_control_character_reaches_a_reader(text: str, width: int) -> None:
    for outcome in (nasty(text), nasty(NASTY + text)):
        for style in (PLAIN, Style(width=width, is_terminal=True, unicode=True)):
            shown = table(outcome, style=style)
            assert all(line.isprintable() for line in shown.split("\n"))
            assert "##[" not in shown
            assert not re.search(r"^\s*::[a-z-]+::", shown, re.MULTILINE)


def test_text_in_the_first_column_is_no_command_to_a_runner() -> None:
    columns = (Column("app", "APP", show=Show.ALWAYS), Column("n", "N", Unit.COUNT))
    report = count(table=Table("groups", columns, (("::error::boo", 1), ("::1", 2)), 2))
    text = table(report, command="count")
    assert r"\x3a:error::boo" in text
    assert "\n::1" in text


def test_what_is_missing_for_one_reason_is_said_in_one_sentence() -> None:
    gaps = [Gap(Fact.QUERIES, "no texts", "turn it on", True), Gap(Fact.SESSIONS, "no names", "turn it on", True)]
    assert gap_sentences(gaps) == ["seen only in part: no texts; no names; to see it: turn it on"]
    assert gap_sentences(gaps, everything=False) == ["seen only in part: no texts; no names (-v says how to see it)"]
