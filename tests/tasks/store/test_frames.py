"""Labels become columns beside those that every store has; none hides another, whatever they are called."""

import numpy as np
import pytest

from cryovox.tasks.store.frames import by_column, categories_of, with_labels
from cryovox.tasks.values import Label, Labels


@pytest.mark.parametrize(
    ("names", "columns"),
    [
        (("state", "opening"), ("state", "opening")),
        (("volume", "label_volume"), ("label_label_volume", "label_volume")),
        (("label_volume", "volume"), ("label_volume", "label_label_volume")),
        (("Volume", "X", "y"), ("label_Volume", "label_X", "label_y")),
        (("a", "A"), ("a", "label_A")),
        (("t", "label_t", "source_file"), ("label_label_t", "label_t", "label_source_file")),
    ],
)
def test_every_label_has_a_column_of_its_own(names, columns):
    labels = Labels(tuple(Label(name, np.array([n, -1]), (f"{name} {n}",) * (n + 1)) for n, name in enumerate(names)))
    table = {"t": np.zeros(2), "source_file": np.array(["a", "b"])}
    assert tuple(by_column(labels, table)) == columns
    together = with_labels(table, labels)
    assert list(together) == [*table, *columns]
    assert together["t"] is table["t"]
    for n, (name, column) in enumerate(zip(names, columns, strict=True)):
        assert together[column].tolist() == [f"{name} {n}", ""]
        assert categories_of(table, labels)[column][n] == f"{name} {n}"
