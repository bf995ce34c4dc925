"""The proof of access: every address, every method, every kind of object, for everybody, as the tables say.

The tables are `pages.table`, `api.table` and `admin.table`; the first lines of `pages.table` say how to add a row.
"""

from __future__ import annotations

import pytest

from tests.access.matrix import bodies
from tests.access.matrix.endpoints import EXEMPT, described, endpoints
from tests.access.matrix.notation import METHODS, BadTable, Row, column, table
from tests.access.matrix.walk import TABLES, Walk

pytestmark = pytest.mark.django_db

LEAST_CELLS = 5_000
#: Served, and not described: the description itself, and the answer to addresses that do not exist.
UNDESCRIBED = {("api:schema", "GET"), ("api:docs", "GET")}


def rows() -> list[Row]:
    return [row for name in TABLES for row in table(name)]


def test_every_address_stands_in_a_table_and_every_row_is_of_an_address():
    exist, known = set(endpoints()), {row.endpoint for row in rows()}
    assert sorted(exist - known - set(EXEMPT)) == [], "addresses that no table knows: add them to a .table"
    assert sorted(known - exist) == [], "rows of addresses that are no more"
    assert sorted(set(EXEMPT) - exist) == [], "exempt addresses that are no more"
    assert sorted(set(EXEMPT) & known) == [], "exempt, and in a table all the same"


def test_every_method_stands_in_the_table():
    said = {(row.endpoint, row.verb) for row in rows()}
    missing = [f"{name} {method}" for name in endpoints() for method in METHODS if (name, method) not in said]
    assert missing == []


def test_what_takes_an_id_is_asked_for_one_that_is_not_there():
    """Without that row there would be nothing to compare a hidden object's answer with."""
    asked = {(row.endpoint, row.method) for row in rows() if "gone" in row.kind}
    served = {
        (row.endpoint, row.method)
        for row in rows()
        if row.letters & set("VRBCU") and set(endpoints()[row.endpoint].parameters) - {"app_label"}
    }
    assert sorted(pair for pair in served - asked if not pair[0].startswith("auditors:")) == []


def test_the_api_serves_what_it_describes_and_nothing_else():
    served = {(row.endpoint, row.verb) for row in table("api") if row.letters - set("AMF") and row.verb != "HEAD"}
    served = {pair for pair in served if pair[0] != "api:nowhere"}
    assert served - UNDESCRIBED == described() - UNDESCRIBED


def test_no_body_is_left_over():
    known = {(row.endpoint, row.method) for row in rows()}
    assert sorted((set(bodies.PAGES) | set(bodies.API)) - known) == []


def test_the_proof_is_large_enough():
    cells = sum(len(row.asked) for row in rows())
    print(f"{cells} cells")
    assert cells >= LEAST_CELLS


def test_everybody_is_answered_as_the_table_says(walk: Walk):
    assert walk.cells > 0
    assert walk.wrong == [], f"{len(walk.wrong)} of {walk.cells} cells"


def test_the_other_door_opens_neither_more_nor_less(other_doors: Walk):
    assert other_doors.cells > 2_000
    assert other_doors.wrong == [], f"{len(other_doors.wrong)} of {other_doors.cells} cells"


@pytest.mark.parametrize("text", ["AA", "AA NNNN VN VVVV VX", "AA NNNN VN VVVV VVV"])
def test_a_row_that_is_no_row_is_refused(text):
    with pytest.raises(BadTable):
        column(text, "ANV", "here")
