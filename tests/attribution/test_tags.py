"""Code tags: exactly what was written into them, whatever it was, and nothing where nobody wrote any."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connaudit.attribution.tags import Tags, described, pairs, tags

DJANGO = (
    "/*controller='cart%2Dview',db_driver='django.db.backends.postgresql',"
    "framework='django%3A5.2.19',route='cart/%3Cint%3Aid%3E'*/"
)
RAILS = "/*application:Shop,controller:orders,action:show,line:/app/models/order.rb:12:in 'find_all'*/"


def test_what_django_writes_behind_a_statement() -> None:
    found = tags(f"SELECT 1 FROM cart WHERE id = 7 {DJANGO}")
    assert found == Tags(
        framework="django:5.2.19",
        route="cart/<int:id>",
        controller="cart-view",
        others=(("db_driver", "django.db.backends.postgresql"),),
    )
    assert found.code == "cart/<int:id>"


def test_what_rails_writes_before_a_statement() -> None:
    found = tags(f"{RAILS} SELECT `orders`.* FROM `orders`", "mysql")
    assert found == Tags(application="Shop", controller="orders", action="show", place="/app/models/order.rb:12")
    assert found.code == "/app/models/order.rb:12"


def test_controller_and_action_name_the_code_where_nothing_says_more() -> None:
    found = tags("select 1 /*application:Shop,controller:orders,action:show*/")
    assert found
    assert found.code == "orders#show"


@pytest.mark.parametrize(
    "sql",
    [
        "select '/*route=''cart''*/'",
        "select 1 /* note: this is slow, see the wiki */",
        "select 1 /* key: value */",
        "select /*+ SeqScan(t) */ * from t",
        "select 1 -- route='cart'",
        "select 1 /**/",
        "select 1 /*",
        "",
        None,
    ],
)
def test_remarks_hints_and_strings_are_no_tags(sql: str | None) -> None:
    assert tags(sql) is None


def test_a_comment_that_was_cut_off_gives_what_is_whole_of_it() -> None:
    whole = f"select 1 {DJANGO}"
    for length in range(len(whole)):
        found = pairs(whole[:length])
        assert set(found.items()) <= set(pairs(whole).items())
    assert pairs("select 1 /*application:Shop,controller:orders,acti") == {"application": "Shop"}
    assert pairs(whole[:-30]) == {"controller": "cart-view", "db_driver": "django.db.backends.postgresql"} | {
        "framework": "django:5.2.19"
    }


def test_percent_signs_that_were_doubled_for_a_driver_are_understood() -> None:
    assert pairs("select 1 /*route='cart/%%3Cid%%3E'*/") == {"route": "cart/<id>"}


def test_the_first_of_two_comments_counts() -> None:
    assert pairs("/*route='a'*/ select 1 /*route='b',action='c'*/") == {"route": "a", "action": "c"}


def test_a_traceparent_is_told_by_its_trace() -> None:
    found = tags("select 1 /*traceparent='00-5bd66ef5095369c7b0d1f8f4bd33716a-c532cb4098ac3dd2-01'*/")
    assert found == Tags(trace="5bd66ef5095369c7b0d1f8f4bd33716a")


def test_people_get_every_part_by_its_name() -> None:
    found = tags(RAILS)
    assert found
    assert next(described(found)) == ("application", "Shop")


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
KEYS = st.text(st.characters(codec="ascii", categories=["Ll", "Lu", "Nd"]), min_size=1, max_size=10)


def sqlcommenter(values: dict[str, str]) -> str:
    """Write a comment as the specification has it: encode, escape quotes, quote, sort."""
    encoded = {quote(key, safe=""): quote(value, safe="'").replace("'", "\\'") for key, value in values.items()}
    return "/*" + ",".join(f"{key}='{value}'" for key, value in sorted(encoded.items())) + "*/"


@given(st.dictionaries(KEYS, TEXT, min_size=1, max_size=5), st.sampled_from(["postgresql", "mysql"]))
def test_what_sqlcommenter_encodes_comes_back(values: dict[str, str], engine: str) -> None:
    assert pairs(f"select 1 {sqlcommenter(values)}", engine) == values
    assert pairs(f"{sqlcommenter(values)} select 'x'", engine) == values


@given(st.text(max_size=60))
def test_no_text_is_too_strange(text: str) -> None:
    for engine in ("postgresql", "mysql"):
        pairs(text, engine)
        pairs(f"select 1 /*{text}", engine)
        pairs(f"select 1 /*app:{text}", engine)
