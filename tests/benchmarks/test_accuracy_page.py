"""The accuracy that tasks/volume/README.md states is the accuracy that its command measures."""

import importlib.util
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from cryovox.tasks.scattering.tables import lobato2014

SPEC = importlib.util.spec_from_file_location("accuracy", Path(__file__).with_name("accuracy.py"))
assert SPEC is not None
assert SPEC.loader is not None
accuracy = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(accuracy)

ROW = {row.name: row for row in accuracy.ROWS}
FACTOR = 1.5
"""Between what is measured again and what the page says: other versions and machines round otherwise."""
LEAST = 1e-6
"""Smaller errors are rounding: only their bound is held."""


@pytest.fixture(scope="module")
def page() -> dict:
    return accuracy.figures(accuracy.PAGE.read_text("utf-8"))


def at(page, table: str, first: str, b_factor: float) -> list[float]:
    """The page's figures for one B; `<` marks a bound."""
    return page[table, first][accuracy.B_FACTORS.index(b_factor)]


def stated(figure: str, value: float) -> None:
    """What is measured, `value`, is what the page says."""
    if figure.startswith("<"):
        assert value < FACTOR * float(figure[1:])
        return
    assert value < FACTOR * float(figure)
    if float(figure) > LEAST:
        assert value > float(figure) / FACTOR


def test_the_page_has_a_figure_for_every_voxel_size_and_b_factor(page):
    tables = [(f"`FFTAtomRenderFn`, {table.name}", f"{h:g}") for table in accuracy.TABLES for h in accuracy.VOXEL_SIZES]
    assert set(page) == {*tables, *(("Error functions", name) for name in accuracy.names())}
    for key, cells in page.items():
        assert len(cells) == len(accuracy.B_FACTORS)
        us = next((len(table.us) for table in accuracy.TABLES if table.name in key[0]), 1)
        for cell in cells:
            values = [float(figure.strip("<")) for figure in cell]
            assert 1 <= len(values) <= us
            # more modes, less error; where half of the volume is missing, hardly more
            assert all(b <= (a if a < 0.5 else 1.05 * a) for a, b in pairwise(values))
            assert len(values) == us or cell[-1].startswith("<")


@pytest.mark.parametrize(("number", "h", "b_factor", "u"), [(0, 2.0, 20.0, 2), (1, 2.0, 20.0, 1), (2, 2.0, 50.0, 2)])
def test_a_cell_of_each_table_is_measured_again(page, number, h, b_factor, u):
    table, grid = accuracy.TABLES[number], accuracy.grid_of(h)
    value = accuracy.error(True, table.draw(u), grid, b_factor, accuracy.expected(table.truth, grid, b_factor))
    stated(at(page, f"`FFTAtomRenderFn`, {table.name}", f"{h:g}", b_factor)[u - 1], value)


@pytest.mark.parametrize("number", [1, 3, 6, 8])
def test_no_renderer_by_error_functions_exceeds_its_row(page, number):
    row = accuracy.ROWS[number]
    (value,) = accuracy.of_row(row, 2.0, 20.0)
    (figure,) = at(page, "Error functions", accuracy.names()[number], 20.0)
    assert value < FACTOR * float(figure.strip("<"))


def test_the_oracle_of_lobatos_factors_is_their_formula_in_either_space():
    """Superposed Gaussians: f(ξ) = Σ a (2 + bξ²)/(1 + bξ²)², U(r) = Σ a (π/(b r) + π²/b^(3/2)) exp(-2πr/√b)."""
    numbers = np.array([1, 6, 8, 26, 79])
    a, b = lobato2014().a[numbers][..., None], lobato2014().b[numbers][..., None]
    amplitudes, variances = (array[..., None] for array in accuracy.lobato_as_gaussians(numbers, 0.0))
    squared, r = np.linspace(0, 6, 40) ** 2, np.linspace(0.05, 3, 40)
    expected = (a * (2 + b * squared) / (1 + b * squared) ** 2).sum(axis=1)
    np.testing.assert_allclose((amplitudes * np.exp(-2 * np.pi**2 * variances * squared)).sum(axis=1), expected, atol=1e-11)
    expected = (a * (np.pi / (b * r) + np.pi**2 / b**1.5) * np.exp(-2 * np.pi * r / np.sqrt(b))).sum(axis=1)
    gaussians = np.exp(-(r**2) / (2 * variances)) / (2 * np.pi * variances) ** 1.5
    np.testing.assert_allclose((amplitudes * gaussians).sum(axis=1), expected, rtol=1e-6, atol=1e-9)


def test_writing_replaces_what_stands_between_the_marks_and_nothing_else():
    page = f"before\n{accuracy.BEGIN}\n\nold\n\n{accuracy.END}\nafter\n"
    assert accuracy.part(page) == "old"
    assert accuracy.replaced(page, "new") == page.replace("old", "new")
    with pytest.raises(ValueError, match="lacks the marks"):
        accuracy.replaced("no marks", "new")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_figure_is_measured_again(page):
    errors = accuracy.measured()
    again = accuracy.figures(f"{accuracy.BEGIN}\n" + "\n".join(accuracy.markdown(errors)) + f"\n{accuracy.END}")
    assert set(again) == set(page)
    for key, cells in page.items():
        for figures, values in zip(cells, again[key], strict=True):
            for figure, value in zip(figures, values, strict=True):
                stated(figure, float(value.strip("<")))
