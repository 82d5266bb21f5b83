"""Formulas of files that are read block by block: functions of whole columns learn from all of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import clusterglm as cg
from clusterglm.errors import FormulaError, OptionError


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ bs(x, df=4)", "y ~ center(x) + g", "y ~ poly(x, 2)", "y ~ I(x - np.mean(x))", "y ~ ns(x, df=3):g",
        "y ~ I(x > median(x)) + cut(x, 3)",
    ],
)  # fmt: skip
def test_functions_of_whole_columns_learn_from_all_files(data, files, engine, formula) -> None:
    """Knots and centres from files are those from the table in memory, to the last bit."""
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


@pytest.mark.parametrize(
    ("formula", "success"),
    [
        ("factor(word) ~ x", None), ("factor(word) ~ x", "no"), ("I(word) ~ x", "no"), ("I(count > 1) ~ x", False),
        ("ifelse(count > 1, 'ill', 'well') ~ x", None), ("ifelse(count > 1, 'ill', 'well') ~ x", "ill"),
        ("relevel(word, 'yes') ~ x", None),
    ],
)  # fmt: skip
def test_levels_of_a_computed_response_are_learned_from_all_parts(data, files, engine, formula, success) -> None:
    streamed, whole = (
        cg.pooled(formula, files, engine=engine, success=success),
        cg.pooled(formula, data, success=success),
    )
    np.testing.assert_allclose(streamed.params, whole.params, rtol=1e-7)
    assert streamed.data.levels == whole.data.levels
    assert streamed._response_facts() == whole._response_facts()
    assert streamed.summary().first_notes == whole.summary().first_notes


@pytest.mark.parametrize("success", [None, "no", "yes"])
def test_parts_that_show_one_level_each(data, tmp_path, success) -> None:
    """Levels that no part shows together have an order only where the success is named."""
    from clusterglm.data.blocks.parts import learn, survey
    from clusterglm.data.formulas.formula import parse_formula
    from clusterglm.data.request import Request
    from clusterglm.model.family import response

    parsed = parse_formula("factor(word) ~ x", list(data.columns))
    request = Request(response("binomial"), need_cluster=False, success=success)
    parts = [survey(rows, parsed, request) for _, rows in data.groupby("word")]
    assert [part.response for part in parts] == [["no"], ["yes"]]
    if success is None:
        with pytest.raises(FormulaError, match=r"no part of the data shows all levels") as refusal:
            learn(parts, parsed, request, {})
        assert "success='yes'" in str(refusal.value)
    else:
        failure = {"no": "yes", "yes": "no"}[success]
        assert learn(parts, parsed, request, {}).levels == (failure, success)
