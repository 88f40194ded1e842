"""A row of a table that is made of all others is no item."""

import numpy as np
import pandas as pd
import pytest

from rerank.core.errors import FormatError
from rerank.io.embeddings import as_embeddings, read_embeddings

IDS = [f"v{i}" for i in range(8)]
TABLE = pd.DataFrame(np.random.default_rng(0).normal(size=(8, 4)), index=IDS)
DESCRIBED = pd.concat([TABLE, TABLE.describe()])


def _with(name, row, table=TABLE):
    return pd.concat([table, pd.DataFrame([row], index=[name], columns=table.columns)])


MADE = {
    "mean": _with("mean", TABLE.mean()),
    "std": _with("Std", TABLE.std()),
    "total": _with("total", TABLE.sum()),
    "mean and then std": _with(
        "std", _with("mean", TABLE.mean()).std(), _with("mean", TABLE.mean())
    ),
    "all of describe": DESCRIBED,
    "in front": pd.concat([pd.DataFrame([TABLE.mean()], index=["average"]), TABLE]),
}


@pytest.mark.parametrize("name", MADE)
def test_a_row_made_of_the_others_is_refused(tmp_path, name):
    MADE[name].to_csv(tmp_path / "v.csv", float_format="%.6f")
    with pytest.raises(FormatError, match=r"made of the 8 others.*d\.drop\(\[\""):
        read_embeddings(tmp_path / "v.csv")
    with pytest.raises(FormatError, match="made of the 8 others"):
        as_embeddings(MADE[name])


GOOD = {
    "another row": _with("mean", TABLE.mean() + 0.1),
    "another name": _with("v9", TABLE.mean()),
    "words": pd.DataFrame(TABLE.to_numpy(), index="mean min max kind nice sum rude calm".split()),
    "all alike": pd.DataFrame(np.ones((3, 4)), index=["a", "b", "mean"]),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_rows_are_read(tmp_path, name):
    GOOD[name].to_csv(tmp_path / "v.csv")
    assert len(read_embeddings(tmp_path / "v.csv")) == len(as_embeddings(GOOD[name]))
