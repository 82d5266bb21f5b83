"""Formulas of files that are read block by block: functions of whole columns learn from all of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import clusterglm as cg
from clusterglm.errors import OptionError


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ bs(x, df=4)", "y ~ center(x) + g", "y ~ poly(x, 2)", "y ~ I(x - np.mean(x))", "y ~ ns(x, df=3):g",
        "y ~ I(x > median(x)) + cut(x, 3)",
    ],
)  # fmt: skip
def test_functions_of_whole_columns_learn_from_all_files(data, files, engine, formula) -> None:
    """The same knots and centres as from the table in memory, to the last bit."""
    streamed = cg.pooled(formula, files, engine=engine)
    whole = cg.pooled(formula, pd.concat([pd.read_parquet(path) for path in sorted(Path(files).glob("*.parquet"))]))
    memory, expected = streamed.data.design.memory, whole.data.design.memory
    assert memory.keys() == expected.keys()
    for text, state in expected.items():
        for name, value in state.items():
            np.testing.assert_array_equal(memory[text][name], value)
    np.testing.assert_allclose(streamed.params, whole.params, rtol=1e-7, atol=1e-9)


def test_whole_columns_beyond_the_memory_allowed_are_refused(files, tmp_path) -> None:
    rows = pd.DataFrame(
        {"y": np.tile([0, 1, 1, 0, 1], 40_000), "x": np.arange(200_000.0), "id": np.arange(200_000) // 5}
    )
    rows.to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(OptionError, match=r"(?s)whole columns \('x', 200,000 rows\).*1,600,000 bytes"):
        cg.random_effects("y ~ center(x)", tmp_path, cluster="id", engine=cg.engine.Stream(memory=2**20))
