"""Reading linear hypotheses, and their Wald tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2

import clusterglm as cg
from clusterglm.errors import ClusterError, OptionError
from clusterglm.inference.hypotheses.wald import Constraints, linear_test, read_hypotheses, symbols_of

NAMES = (
    "(Intercept)", "x1", "x2", "trtdrug", "trtdrug+", "I(week > 2)", "bs(x, df=4)1", "a:b", "I(x ** 2)", "two words",
    "C(x)[T.b]",
)  # fmt: skip
SYMBOLS = symbols_of(NAMES, [], {"trt": (3, 4), "x1": (1,), "`two words`": (9,)})


def read(hypothesis: Any, r: Any = None) -> Constraints:
    return read_hypotheses(hypothesis, r, NAMES, SYMBOLS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x1 = x2", ["x1 - x2 = 0"]),
        ("x1 == x2", ["x1 - x2 = 0"]),
        ("x1 - x2", ["x1 - x2 = 0"]),
        ("x1 + 2*x2 = 0.5", ["x1 + 2*x2 = 0.5"]),
        ("0.5 = x1 + x2 * 2", ["x1 + 2*x2 = 0.5"]),
        ("x1 = 0, x2 = 1e-3", ["x1 = 0", "x2 = 0.001"]),
        ("x1 = x2 = a:b", ["x1 - x2 = 0", "x2 - a:b = 0"]),
        ("b:a = 2", ["a:b = 2"]),
        ("-(x1 - 3) / 2 + x2/4 = -(-1)", ["-0.5*x1 + 0.25*x2 = -0.5"]),
        ("2*(x1 + x2) = x1 + 1", ["x1 + 2*x2 = 1"]),
        (["x1", "trt"], ["x1 = 0", "trtdrug = 0", "trtdrug+ = 0"]),
        ("trt = 0, x2 = 1", ["trtdrug = 0", "trtdrug+ = 0", "x2 = 1"]),
        ("trtdrug", ["trtdrug = 0"]),
        ("trtdrug+", ["trtdrug+ = 0"]),
        ("trtdrug+ = trtdrug", ["-trtdrug + trtdrug+ = 0"]),
        ("trtdrug+x1 = 0", ["x1 + trtdrug = 0"]),
        ("`trtdrug+`-x1", ["-x1 + trtdrug+ = 0"]),
        ("I(week > 2) = 1", ["I(week > 2) = 1"]),
        ("I(week>2)=1", ["I(week > 2) = 1"]),
        ("I(x^2) + x1 = 0", ["x1 + I(x ** 2) = 0"]),
        ("bs(x, df=4)1 = a:b, (Intercept) = 1", ["bs(x, df=4)1 - a:b = 0", "(Intercept) = 1"]),
        ("C(x)[T.b] = two words", ["-two words + C(x)[T.b] = 0"]),
        ("`two words` + 2 * 2 = 3", ["two words = -1"]),
    ],
)
def test_hypotheses_in_words(text: Any, words: list[str]) -> None:
    assert list(read(text).words) == words


def test_rows_are_what_the_words_say() -> None:
    got = read("x1 + 2*x2 - 3 = a:b / 4")
    want = np.zeros(len(NAMES))
    want[[1, 2, 7]] = 1.0, 2.0, -0.25
    np.testing.assert_array_equal(got.R, [want])
    np.testing.assert_array_equal(got.r, [3.0])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x3 = 0", "'x3' .* not a coefficient"),
        ("trtdurg = 0", r"'trtdurg' .* not a coefficient(.|\n)*did you mean 'trtdrug'"),
        ("week = 0", "'week' .* not a coefficient"),
        ("sigma = 0", r"test_clustering\(method=\"boundary\"\)"),
        ("x1 * x2 = 0", "linear equations"),
        ("x1 / 0 = 1", "linear equations"),
        ("1 / x1 = 1", "linear equations"),
        ("x1 =", "linear equations"),
        ("", "linear equations"),
        ("x1 = x1", "linear equations"),
        ("3 = 3.5", "linear equations"),
        ("(x1 = 0", "linear equations"),
        ("trt = 1", "linear equations"),
        ("trt + x1 = 0", "linear equations"),
        ("trtdrug+-x1 = 0", "can be read in 2 ways"),
        ([], "linear|R of shape"),
        (object(), "x1 = x2"),
    ],
)
def test_what_cannot_be_read_is_refused(text: Any, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        read(text)


def test_a_column_that_looks_like_a_number_needs_backquotes() -> None:
    symbols = {"x": (0,), "2": (1,)}
    assert read_hypotheses("2*x = 1", None, ["x", "2"], symbols).words == ("2*x = 1",)
    assert read_hypotheses("x = 2*`2`", None, ["x", "2"], symbols).words == ("x - 2*2 = 0",)
    with pytest.raises(OptionError, match="can be read in 2 ways"):
        read_hypotheses("x = 2", None, ["x", "2"], symbols)


def test_matrices() -> None:
    R = np.zeros((2, len(NAMES)))
    R[0, 1], R[1, 2] = 1.0, -2.0
    got = read(R, [0.5, 1.0])
    np.testing.assert_array_equal(got.R, R)
    assert got.words == ("x1 = 0.5", "2*x2 = -1")
    np.testing.assert_array_equal(read(R[0]).r, [0.0])
    frame = pd.DataFrame({"x2": [-2.0], "x1": [1.0]})
    np.testing.assert_array_equal(read(frame).R, R[:1] + R[1:])
    for bad, r in ((R[:, :3], None), (R, [1.0]), (R * np.nan, None), (np.zeros((0, len(NAMES))), None)):
        with pytest.raises(OptionError):
            read(bad, r)
    with pytest.raises(OptionError, match="did you mean 'x1'"):
        read(frame.rename(columns={"x1": "x11"}))
    with pytest.raises(OptionError, match="r= with hypotheses in words"):
        read("x1", [1.0])


def constraints(R: Any, r: Any) -> Constraints:
    R = np.atleast_2d(np.array(R, dtype=float))
    return Constraints(R, np.atleast_1d(np.array(r, dtype=float)), tuple(f"row {k}" for k in range(len(R))))


def test_statistic_by_hand() -> None:
    """Var(b1 - b2) = 4 + 1 - 2 * 0.5 = 4: (3 - 1 - 0.5)^2 / 4."""
    beta, V = np.array([3.0, 1.0]), np.array([[4.0, 0.5], [0.5, 1.0]])
    test = linear_test(constraints([1, -1], 0.5), beta, V, "observed")
    assert test.statistic == pytest.approx(1.5**2 / 4.0)
    assert (test.df, test.std_error[0], test.estimate[0]) == (1, 2.0, 1.5)
    assert test.pvalue == pytest.approx(chi2.sf(1.5**2 / 4.0, 1))
    both = linear_test(constraints(np.eye(2), [0, 0]), beta, V, "observed")
    assert both.statistic == pytest.approx(beta @ np.linalg.inv(V) @ beta)
    assert both.pvalue == pytest.approx(chi2.sf(both.statistic, 2))


def test_statistic_does_not_depend_on_units_or_on_how_hypotheses_are_combined() -> None:
    rng = np.random.default_rng(0)
    A = rng.normal(size=(5, 5))
    beta, V, R, r = rng.normal(size=5), A @ A.T, rng.normal(size=(3, 5)), rng.normal(size=3)
    want = linear_test(constraints(R, r), beta, V, "observed").statistic
    M = rng.normal(size=(3, 3))
    assert linear_test(constraints(M @ R, M @ r), beta, V, "observed").statistic == pytest.approx(want)
    D = 10.0 ** np.array([-9, -3, 0, 4, 9])
    scaled = linear_test(constraints(R / D, r), beta * D, V * np.outer(D, D), "observed").statistic
    assert scaled == pytest.approx(want)


@pytest.mark.parametrize(
    ("R", "r", "words"),
    [
        ([[1, 0], [2, 0]], [1, 2], "row 1, which follows from row 0"),
        ([[1, 0], [2, 0]], [1, 3], "row 1, which contradicts row 0"),
        ([[1, 0], [0, 1], [1, 1]], [0, 0, 0], "row 2, which follows from row 0 and row 1"),
        ([[1, 0], [0, 0]], [0, 0], "row 2 of R without a coefficient"),
    ],
)
def test_rows_that_follow_or_contradict_are_named(R: Any, r: Any, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        linear_test(constraints(R, r), np.zeros(2), np.diag([1e-12, 1e12]), "observed")


def test_a_singular_covariance_is_refused() -> None:
    with pytest.raises(ClusterError, match="singular robust covariance of 2"):
        linear_test(constraints(np.eye(2), [0, 0]), np.ones(2), np.ones((2, 2)), "robust")


# On fits --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bacteria(golden_frame: Any) -> pd.DataFrame:
    return golden_frame("bacteria")


@pytest.fixture(scope="module")
def fit(bacteria: pd.DataFrame) -> Any:
    return cg.random_effects("yy ~ trt + I(week > 2)", bacteria, cluster="ID")


def test_one_coefficient_is_its_z_value_squared(fit: Any) -> None:
    for name in fit.params.index:
        test = fit.wald_test(name)
        assert test.statistic == pytest.approx(fit.tvalues[name] ** 2)
        assert test.pvalue == pytest.approx(fit.pvalues[name])


@pytest.mark.parametrize("cov", ["observed", "robust"])
def test_a_term_is_all_its_columns(fit: Any, cov: str) -> None:
    test = fit.wald_test("trt", cov=cov)
    beta = fit.params[["trtdrug", "trtdrug+"]].to_numpy()
    V = fit.cov(cov).loc[["trtdrug", "trtdrug+"], ["trtdrug", "trtdrug+"]].to_numpy()
    assert test.statistic == pytest.approx(beta @ np.linalg.solve(V, beta))
    assert (test.df, test.cov) == (2, cov)
    assert fit.wald_test("trtdrug = 0, trtdrug+ = 0", cov).statistic == pytest.approx(test.statistic)
    R = np.eye(len(fit.params))[1:3]
    assert fit.wald_test(R, cov).statistic == pytest.approx(test.statistic)


def test_formulaics_names_work_as_well(fit: Any) -> None:
    assert fit.wald_test("trt[T.drug] = 0").statistic == pytest.approx(fit.wald_test("trtdrug").statistic)


def test_prints_as_a_sentence(fit: Any) -> None:
    assert str(fit.wald_test("trt")).startswith("Wald test of trtdrug = 0, trtdrug+ = 0: chi2 = ")
    assert "on 2 df, p = " in str(fit.wald_test("trt"))
    one = fit.wald_test("trtdrug = trtdrug+")
    assert f"left less right side {one.estimate[0]:.4g}, standard error {one.std_error[0]:.4g}" in str(one)
    table = one.to_frame()
    assert list(table.columns[:3]) == ["hypothesis", "estimate", "std_error"]
    ends = one.estimate[0] + np.array([-1.0, 1.0]) * 1.959963984540054 * one.std_error[0]
    np.testing.assert_allclose(table[["conf_low", "conf_high"]].iloc[0], ends)
    np.testing.assert_allclose(table[["ratio", "ratio_low", "ratio_high"]].iloc[0], np.exp([one.estimate[0], *ends]))
    assert f"95% from {ends[0]:.4g} to {ends[1]:.4g}; as odds ratio {np.exp(one.estimate[0]):.4g}" in str(one)
    narrow = fit.wald_test("trtdrug = trtdrug+", level=0.5).to_frame()
    assert narrow["conf_high"][0] - narrow["conf_low"][0] == pytest.approx(2.0 * 0.6744897501960817 * one.std_error[0])


def test_term_tests(bacteria: pd.DataFrame, fit: Any) -> None:
    table = fit.term_tests().set_index("term")
    assert len(table) == 2
    assert table.loc["trt", "df"] == 2
    assert table.loc["trt", "statistic"] == pytest.approx(fit.wald_test("trt").statistic)
    robust = fit.term_tests(cov="robust").set_index("term")
    assert robust.loc["trt", "pvalue"] == pytest.approx(fit.wald_test("trt", "robust").pvalue)
    crossed = cg.pooled("yy ~ trt*week", bacteria)
    assert list(crossed.term_tests().term) == ["trt", "week", "trt:week"]
    assert list(crossed.term_tests().df) == [2, 1, 2]
    assert crossed.wald_test("trt:week").statistic == pytest.approx(crossed.term_tests().statistic[2])


@pytest.mark.parametrize("verb", [cg.pooled, cg.fixed_effects, cg.conditional])
def test_other_kinds_of_fits(verb: Any, bacteria: pd.DataFrame) -> None:
    fit = verb("yy ~ week + I(week > 2)", bacteria, cluster="ID")
    for cov in ("observed", "robust"):
        test = fit.wald_test("week = 0, I(week > 2) = 0", cov)
        kept = fit.params[["week", fit.params.index[-1]]].to_numpy()
        V = fit.cov(cov).to_numpy()[-2:, -2:]
        assert test.statistic == pytest.approx(kept @ np.linalg.solve(V, kept))
    assert list(fit.term_tests().df) == [1, 1]


def test_names_as_printed_work(fit: Any) -> None:
    """Every name in the table of coefficients, as it stands."""
    for name in fit.params.index:
        assert fit.wald_test(f"{name} = 0").hypotheses == (f"{name} = 0",)


def test_options(fit: Any) -> None:
    with pytest.raises(OptionError, match="one of 'observed', 'robust'"):
        fit.wald_test("trt", cov="sandwich")
    with pytest.raises(OptionError, match="one of 'observed', 'robust'"):
        fit.term_tests(cov="hc0")


def test_more_hypotheses_than_clusters(bacteria: pd.DataFrame) -> None:
    few = bacteria[bacteria.ID.isin(bacteria.ID.unique()[:12])].assign(block=lambda d: np.arange(len(d)) % 2)
    fit = cg.pooled("yy ~ week + late", few, cluster="block")
    with pytest.raises(ClusterError, match="more clusters than hypotheses"):
        fit.wald_test("week = 0, late = 0", cov="robust")


def test_size_under_the_hypothesis() -> None:
    """400 data sets in which x1 and x2 do the same: 5% of the tests reject, give or take."""
    rng = np.random.default_rng(3)
    n, rejected = 300, 0
    X = pd.DataFrame({"x1": rng.normal(size=n), "x2": rng.normal(size=n), "id": np.arange(n)})
    mean = np.exp(0.2 + 0.3 * X.x1 + 0.3 * X.x2)
    for _ in range(400):
        fit = cg.pooled("y ~ x1 + x2", X.assign(y=rng.poisson(mean)), family="poisson")
        rejected += fit.wald_test("x1 = x2").pvalue < 0.05
    assert 8 <= rejected <= 35  # 20 expected, standard deviation 4.4
