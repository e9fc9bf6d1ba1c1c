"""Whatever is wrong with a text, its password is in no word of the error."""

import traceback
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connaudit.errors import ConnauditError
from connaudit.targets.parse import parse
from connaudit.targets.resolve import resolve

PASSWORD = "s3cr3t"


def everything_in(error: BaseException | None) -> str:
    """Return what a careless logger could print: text, attributes, causes, and the locals of our own frames."""
    told = ""
    while error:
        told += f"{error!s} {error!r} {vars(error)!r}"
        frames = traceback.walk_tb(error.__traceback__)
        told += "".join(
            repr(frame.f_locals) for frame, _ in frames if "/connaudit/targets/parse" in frame.f_code.co_filename
        )
        error = error.__cause__ or error.__context__
    return told


MALFORMED = [
    "postgresql://me:s3cr3t%zz@db1/shop",
    "postgresql://me:s3cr3t@[::1/shop",
    "postgres//me:s3cr3t@db1/shop",
    "postgres//me:s3cr3t@db1/shop?sslmode=require",
    "postgres:me:s3cr3t@db1/shop",
    "me:s3cr3t@db1/shop",
    "postgresql://me:s3cr3t@db1:port/shop",
    "postgresql://me:s3cr3t/x@db1/shop",
    "postgresql://me:12/s3cr3t@db1/shop",
    "postgresql://me:x?s3cr3t=y@db1/shop",
    "postgresql://me:x#s3cr3t@db1/shop",
    "postgresql://me:x@s3cr3t@db1/shop",
    "postgresql://me:{s3cr3t}@db1/shop",
    "postgresql://me:x s3cr3t@db1/shop",
    "postgresql://me@db1/shop?pasword=s3cr3t",
    "postgresql://me@db1/shop?s3cr3t=password",
    "postgresql://me@db1/shop?password=s3cr3t&s3cr3t",
    "postgresql://me:s3cr3t@db1/shop?password=%ff",
    "gopher://me:s3cr3t@db1/shop",
    "mysql://me:s3cr3t@db1/shop?ssl-mode=s3cr3t",
    "host=db1 password=x s3cr3t",
    "host=db1 password=x s3cr3t=y",
    "host=db1 password='s3cr3t",
    "host=db1 pasword=s3cr3t",
    "host=db1 port=s3cr3t",
    "postgresql://me:s3cr3t@db1/\udcff",
]


@pytest.mark.parametrize("text", MALFORMED)
def test_no_malformed_text_leaks_its_password(text: str) -> None:
    with pytest.raises(ConnauditError) as caught:
        resolve([text], environment={}, home="/nonexistent")
    assert PASSWORD not in everything_in(caught.value)
    assert PASSWORD not in (caught.value.hint or "")


@pytest.mark.parametrize("text", MALFORMED)
def test_no_variable_leaks_its_password(text: str) -> None:
    with pytest.raises(ConnauditError, match=r"^DATABASE_URL: ") as caught:
        resolve([], environment={"DATABASE_URL": text}, home="/nonexistent")
    assert PASSWORD not in everything_in(caught.value)


@given(
    prefix=st.sampled_from(["postgresql://", "mysql://", "postgres//", "mysql:", "", "host=db1 password=", "x://"]),
    before=st.text(max_size=8),
    after=st.text(st.sampled_from(list("@:/?&=#% ,[]{}'\\ab1")), max_size=20),
)
def test_no_text_at_all_leaks_its_password(prefix: str, before: str, after: str) -> None:
    told = ""
    try:
        told = repr(parse(f"{prefix}me:{before}{PASSWORD}{after}").password)
    except ConnauditError as error:
        told = everything_in(error)
    assert PASSWORD not in told


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12))
def test_a_target_never_shows_its_password(tail: str) -> None:
    target = parse(f"postgresql://me:{PASSWORD}{quote(tail, safe='')}@db1/shop")
    assert PASSWORD not in repr(target)
    assert PASSWORD not in str(target.location)
