"""Tables: of scattering factors, where a wrong one draws every volume wrongly, and of labels and poses."""

import pytest

from cryovox.tasks.errors import Refusal
from cryovox.tasks.scattering.tables import COLUMNS, parsed

HEADER = ",".join(COLUMNS)
CARBON = "6,C,0.0893,0.2563,0.7570,1.0487,0.3575,0.2465,1.7100,6.4094,18.6113,50.2523"
OXYGEN = "8,O,0.0974,0.2921,0.6910,0.6990,0.2039,0.2067,1.3815,4.6943,12.7105,32.4726"

XRAYS = (
    "6,C,2.31,1.02,1.5886,0.865,0.2156,20.8439,10.2075,0.5687,51.6512,30",
    "8,O,3.0485,2.2868,1.5463,0.867,0.2508,13.2771,5.7011,0.3239,32.9089,2",
)
"""Of Cromer and Mann, International Tables C, 6.1.1: their constant is the fifth amplitude here."""


def table(*rows):
    return "\n".join(["# mine", HEADER, *rows, ""])


SCATTERING = {
    "malformed row: too few": (
        table("6,C,0.1,0.2"), "malformed row", "mine.csv:3", "6,C,0.1,0.2", "12 values", "correct the row",
    ),
    "malformed row: no number": (
        table(CARBON.replace("0.0893", "abc")), "malformed row", "mine.csv:3", "abc", "ten finite numbers", "correct the row",
    ),
    "malformed row: NaN": (table(CARBON.replace("0.0893", "nan")), "malformed row", ":3", "nan", "finite numbers", "correct"),
    "malformed row: no such element": (table("0" + CARBON[1:]), "malformed row", ":3", "0,C", "Z from 1 to 118", "correct"),
    "negative width": (
        table(CARBON.replace("18.6113", "-18.6113")), "width", "mine.csv:3", "b4 = -18.6113 of C", "above 0", "correct",
    ),
    "width 0": (table(CARBON.replace("18.6113", "0")), "width", "mine.csv:3", "b4 = 0 of C", "Å², above 0", "correct"),
    "an X-ray table (f(0) ≈ Z)": (
        table(*XRAYS), "is for X-rays", "mine.csv", "f(0)/Z = 1", "well below Z", "factors for electrons",
    ),
    "the same element twice": (table(CARBON, CARBON), "out of order", "mine.csv:4", "Z = 6", "Z ≥ 7", "each element once"),
    "elements out of order": (table(OXYGEN, CARBON), "out of order", "mine.csv:4", "Z = 6", "Z ≥ 9", "in the order of Z"),
    "other columns": (f"Z,symbol,a1\n{CARBON}\n", "other columns", "mine.csv:1", "Z,symbol,a1", HEADER, "this header"),
    "no rows": (table(), "no element", "mine.csv", "a header alone", "a row for each element", "add the rows"),
    "empty": ("", "other columns", "mine.csv:1", "no line", HEADER, "this header"),
}  # fmt: skip


@pytest.mark.parametrize("case", SCATTERING.values(), ids=SCATTERING.keys())
def test_a_scattering_table_is_refused_line_by_line(says, case):
    text, *said = case
    with pytest.raises(Refusal) as caught:
        parsed(text, "mine.csv", 1.0)
    says(str(caught.value), *said)


def with_table(section, text, name="t.csv"):
    def make(bench):
        bench.text(text, name)
        return bench.recipe(**{section: {"table": name}})

    return make


def element(symbol):
    """Of a table that ends before it."""

    def make(bench):
        line = bench.lines[3]
        bench.pdb("s.pdb", lambda i, _: f"{line[:12]}{symbol:<4} {symbol:>3}{line[20:76]}{symbol:>2}{line[78:]}" if i == 3 else _)
        return bench.alone("s.pdb")

    return make


def rows(n, more=""):
    return "state\n" + more + "".join(f"s{k}\n" for k in range(n))


CASES = {
    "element missing": (element("ES"), "lacks an element", "scattering.table", "99", None, "`table: lobato2014`"),
    "no such table": (
        lambda bench: bench.recipe(scattering={"table": "cromer"}), "`scattering.table`", "recipe.yaml", "cromer", "`peng1996`",
        "",
    ),
    "labels: no such file": (
        lambda bench: bench.recipe(labels={"table": "gone.csv"}), "no such file", "labels.table", None, None, "recipe's folder",
    ),
    "labels: malformed row": (with_table("labels", "frame,state\n0,a,b\n"), "", "t.csv:2", "3", "2: frame, state", ""),
    "labels: too few rows": (with_table("labels", rows(7)), "another number of rows", "t.csv", "7 rows", "10", ""),
    "labels: empty": (with_table("labels", "\n"), "empty", "t.csv", "no header", None, "write a header"),
    "labels: negative weight": (
        with_table("labels", "weight\n" + "1\n" * 9 + "-1\n"), "`weight`", "t.csv:11", "-1", "not negative", "correct it",
    ),
    "poses: malformed row": (with_table("poses", "phi,theta,psi\n1,2\n"), "", "t.csv:2", "", "", ""),
    "poses: too few rows": (with_table("poses", "phi,theta,psi\n1,2,3\n"), "", "t.csv", "1", "10", ""),
    "poses: NaN": (with_table("poses", "phi,theta,psi\n" + "nan,2,3\n" * 10), "", "t.csv:2", "nan", "", ""),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_refused_before_anything_is_created(refused, case):
    refused(*case)
