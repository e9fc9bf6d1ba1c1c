"""The pages: one for each finding and none too many, alike in form, and what they ask of a server is true."""

import re

import pytest

from connaudit.errors import UsageError
from connaudit.explaining import WIDTH, is_code, names, page, plain
from tests.cli import connaudit, on_terminal
from tests.servers import Running
from tests.test_layers import PACKAGE

SECTIONS = ["What it means", "Prove it", "Fix it now", "Fix it for good", "Wrong recipes", "See also"]
WHERE = ["Server", "Django", "SQLAlchemy", "Poolers", "Clouds"]
OF_NO_DIAGNOSTIC = {"CA102", "CA801", "CA901"}  # a full server, what was not seen, one that was not reached
CODES = [name for name in names() if is_code(name)]
PROOF = re.compile(r"^```sql (?P<family>postgresql|mysql)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def sections(name: str) -> dict[str, str]:
    """Return a page's sections by title, in their order."""
    _, *rest = re.split(r"^## ", page(name), flags=re.MULTILINE)
    return {title: text for title, _, text in (part.partition("\n") for part in rest)}


def made() -> set[str]:
    """Return every code that the source can make."""
    return {code for path in PACKAGE.rglob("*.py") for code in re.findall(r'"(CA\d{3})"', path.read_text("utf-8"))}


def test_every_code_has_a_page_and_every_page_a_code() -> None:
    assert made() | OF_NO_DIAGNOSTIC == set(CODES)


@pytest.mark.parametrize("name", names())
def test_a_page_says_its_name_and_fits_a_terminal(name: str) -> None:
    text = plain(page(name))
    assert text.startswith(f"{name}: ")
    assert text.isascii()
    assert "**" not in text
    assert [line for line in text.splitlines() if len(line) > WIDTH] == []


@pytest.mark.parametrize("code", CODES)
def test_all_pages_of_codes_have_the_same_sections(code: str) -> None:
    assert list(sections(code)) == SECTIONS
    assert re.findall(r"^- \*\*(\w+):\*\*", sections(code)["Fix it for good"], re.MULTILINE) == WHERE
    assert {found["family"] for found in PROOF.finditer(sections(code)["Prove it"])} == {"postgresql", "mysql"}


@pytest.mark.parametrize("name", names())
def test_what_a_page_refers_to_exists(name: str) -> None:
    also = re.split(r",\s*", sections(name)["See also"].strip())
    mentioned = re.findall(r"CA\d{3}", page(name))
    assert {*also, *mentioned} <= set(names())
    assert name not in also
    assert any(name in sections(other)["See also"] for other in names() if other != name)


@pytest.mark.parametrize("code", CODES)
def test_the_proofs_can_be_asked_by_the_monitoring_role(code: str, server: Running) -> None:
    family = "postgresql" if server.is_postgres else "mysql"
    proofs = [found["text"] for found in PROOF.finditer(sections(code)["Prove it"]) if found["family"] == family]
    database = "postgres" if server.is_postgres else "information_schema"
    with server.session(server.monitor, database=database) as client:
        for statement in (part.strip() for proof in proofs for part in proof.split(";")):
            if statement:
                client.do(statement.replace("%", "%%") if "%" in statement and not server.is_postgres else statement)


@pytest.mark.parametrize("spelling", ["CA401", "ca401", "401"])
def test_a_code_may_be_spelt_as_people_do(spelling: str) -> None:
    assert page(spelling) == page("CA401")


def test_an_unknown_page_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(UsageError) as refused:
        page("idle-in-transation")
    assert refused.value.hint == "did you mean idle-in-transaction?"


def test_a_page_on_the_command_line() -> None:
    result = connaudit("explain", "CA401")
    assert (result.status, result.err) == (0, "")
    assert result.out == plain(page("CA401"))


def test_alone_it_lists_all_pages() -> None:
    result = connaudit("explain")
    assert (result.status, result.err) == (0, "")
    listed = {line.split()[0] for line in result.out.splitlines() if line.startswith("  ")}
    assert listed == set(names())


def test_nonsense_is_a_usage_error() -> None:
    result = connaudit("explain", "djanog")
    assert (result.status, result.out) == (3, "")
    assert result.err == "connaudit: there is no page about 'djanog'; did you mean django? [usage]\n"


def test_on_a_terminal_it_is_the_same_text() -> None:
    assert on_terminal("explain", "django").out == plain(page("django"))
