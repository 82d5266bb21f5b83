"""The jackknife and the bootstrap of clusters: beside refits of rows that are deleted, or copied, one by one.

Published figures: the patch data and the spatial test data of Efron and Tibshirani (An Introduction to the Bootstrap,
1993, tables 10.1 and 14.1); the jackknife of the former to the digits in Rizzo (Statistical Computing with R, 2008,
chapter 7), the acceleration of the latter in section 14.3 of the former.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats

import clusterglm as cg
from clusterglm.data.resampled import clusters_taken
from clusterglm.errors import ClusterError, IntervalWarning, OptionError
from clusterglm.fit.mixed import fit_again as mixed_again
from clusterglm.fit.random_effects import fit_again
from clusterglm.inference.uncertainty.bootstrap_intervals import BootstrapEstimates
from clusterglm.inference.uncertainty.jackknife import acceleration

TIGHT = cg.Control(tol=1e-10)
M = 12


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """Twelve clusters of six rows in three classes each, with responses of many kinds."""
    rng = np.random.default_rng(2)
    id_ = np.repeat(np.arange(M), 6)
    n = len(id_)
    d = pd.DataFrame(
        {"id": id_, "x": rng.normal(size=n), "g": rng.integers(0, 2, n), "part": np.tile([0, 0, 1, 1, 2, 2], M)}
    )
    u, v = rng.normal(size=(2, M))
    eta = 0.3 + 0.5 * d.x + u[id_] + 0.4 * v[id_] * d.x
    d["k"] = rng.poisson(np.exp(eta))
    d["y"] = (rng.random(n) < 1.0 / (1.0 + np.exp(-eta))).astype(int)
    d["z"] = eta + rng.normal(size=n)
    d["o"] = np.digitize(eta + rng.logistic(size=n), [-0.5, 0.8])
    d["t"], d["e"] = rng.exponential(np.exp(-eta)), (rng.random(n) < 0.8).astype(int)
    return with_classes(d)


def with_classes(d: pd.DataFrame) -> pd.DataFrame:
    return d.assign(room=10 * d.id + d.part)


def drawn(m: int, seed: int, k: int) -> np.ndarray:
    """The clusters of replicate k."""
    return np.random.default_rng(np.random.SeedSequence(seed).spawn(k + 1)[k]).integers(0, m, m)


def copied(d: pd.DataFrame, clusters: np.ndarray) -> pd.DataFrame:
    """The rows of these clusters, of each copy as those of another cluster."""
    parts = [d[d.id == label].assign(id=number) for number, label in enumerate(clusters)]
    return with_classes(pd.concat(parts, ignore_index=True))


# The jackknife of least squares --------------------------------------------------------------------------------------


def least_squares(d: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    X = np.column_stack([np.ones(len(d)), d.x, d.g])
    beta = np.linalg.lstsq(X, d.z.to_numpy(), rcond=None)[0]
    left = d.z.to_numpy() - X @ beta
    return X, np.append(beta, np.sqrt(left @ left / len(d))), left


def test_least_squares_without_each_cluster(table: pd.DataFrame) -> None:
    fit = cg.pooled("z ~ x + g", table, family="gaussian", cluster="id")
    found = fit.jackknife()
    _, whole, _ = least_squares(table)
    without = np.array([least_squares(table[table.id != i])[1] for i in range(M)])
    mean = sum(without) / M
    np.testing.assert_allclose(found.deleted, without, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.bias, (M - 1) * (mean - whole), rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.corrected, M * whole - (M - 1) * mean, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.pseudo_values, M * whole - (M - 1) * without, rtol=0, atol=1e-10)
    variance = (M - 1) / M * sum(np.outer(each - mean, each - mean) for each in without)
    np.testing.assert_allclose(found.cov(), variance, rtol=0, atol=1e-10)
    se = np.sqrt(np.diag(variance))
    np.testing.assert_allclose(found.std_error, se, rtol=1e-8)
    assert (found.df, found.sizes.tolist(), found.times.tolist()) == (M - 1, [1] * M, [1] * M)
    t = scipy.stats.t(M - 1).ppf(0.95)
    low, high = found.interval(level=0.9)
    np.testing.assert_allclose([low, high], [whole - t * se, whole + t * se], rtol=1e-8)
    np.testing.assert_allclose(fit.conf_int(method="jackknife", level=0.9).to_numpy().T, [low, high], rtol=1e-12)


def test_about_the_estimate_it_is_cr3(table: pd.DataFrame) -> None:
    """Bell and McCaffrey's closed form, residuals times the inverse of 1 less the hat matrix; and CV3."""
    fit = cg.pooled("z ~ x + g", table, family="gaussian", cluster="id")
    X, _, left = least_squares(table)
    bread = np.linalg.inv(X.T @ X)
    middle = np.zeros((3, 3))
    for i in range(M):
        rows = (table.id == i).to_numpy()
        score = X[rows].T @ np.linalg.solve(np.eye(rows.sum()) - X[rows] @ bread @ X[rows].T, left[rows])
        middle += np.outer(score, score)
    cr3 = bread @ middle @ bread
    found = fit.jackknife().cov(centre="estimate").iloc[:3, :3]
    np.testing.assert_allclose(found, (M - 1) / M * cr3, rtol=0, atol=1e-10)
    np.testing.assert_allclose(
        cg.pooled("z ~ x + g", table, family="gaussian", cluster="id").cov("CR3").iloc[:3, :3], cr3, atol=1e-10
    )


def test_the_patch_data_of_efron_and_tibshirani() -> None:
    """A ratio of sums: least squares through 0 with weights 1 / z, row by row."""
    z = np.array([8406.0, 2342.0, 8187.0, 8459.0, 4795.0, 3516.0, 4796.0, 10238.0])
    y = np.array([-1200.0, 2601.0, -2705.0, 1982.0, -1290.0, 351.0, -638.0, -2719.0])
    patch = pd.DataFrame({"y": y, "z": z, "w": 1e4 / z})
    found = cg.pooled("y ~ 0 + z", patch, family="gaussian", weights="w").jackknife()
    assert found.estimate[0] == pytest.approx(y.sum() / z.sum(), abs=1e-12)
    assert round(found.estimate[0], 4) == -0.0713
    assert round(found.bias[0], 9) == 0.008002488
    assert round(found.std_error[0], 7) == 0.1055278
    assert "each of 8 rows" in str(found)


def test_the_acceleration_of_efron_and_tibshirani() -> None:
    a = [48, 36, 20, 29, 42, 42, 20, 42, 22, 41, 45, 14, 6, 0, 33, 28, 34, 4, 32, 24, 47, 41, 24, 26, 30, 41]
    fit = cg.pooled("a ~ 1", pd.DataFrame({"a": a}), family="gaussian")
    found = fit.jackknife()
    assert round(found.estimate[1] ** 2, 1) == 171.5
    assert acceleration(found.deleted**2, found.times)[1] == pytest.approx(0.061, abs=0.0005)


def test_intervals_are_those_of_scipy() -> None:
    """The same replicates, of a mean and a standard deviation."""
    y = np.random.default_rng(8).exponential(size=40)
    fit = cg.pooled("y ~ 1", pd.DataFrame({"y": y}), family="gaussian")
    without = fit.jackknife()
    for kind in ("percentile", "basic", "bca"):
        for j, statistic in enumerate((np.mean, np.std)):
            theirs = scipy.stats.bootstrap(
                (y,), statistic, n_resamples=499, method="BCa" if kind == "bca" else kind, confidence_level=0.9, rng=3
            )
            values = np.tile(theirs.bootstrap_distribution[:, None], 2)
            mine = BootstrapEstimates(without.names, without.estimate, values, (), 499, 3, False)
            low, high = mine.interval(kind=kind, level=0.9, jackknife=without)
            np.testing.assert_allclose([low[j], high[j]], theirs.confidence_interval, rtol=1e-9)


def test_normal_intervals_and_the_table(table: pd.DataFrame) -> None:
    fit = cg.pooled("z ~ x", table, family="gaussian", cluster="id")
    found = fit.bootstrap(40, seed=2, resample="clusters")
    bias, se = found.replicates.mean(axis=0) - found.estimate, found.replicates.std(axis=0, ddof=1)
    low, high = found.interval(kind="normal")
    np.testing.assert_allclose(low, found.estimate - bias - scipy.stats.norm.ppf(0.975) * se)
    np.testing.assert_allclose(high, found.estimate - bias + scipy.stats.norm.ppf(0.975) * se)
    frame = found.to_frame(kind="normal")
    assert frame.columns.tolist() == ["estimate", "bias", "std_error", "conf_low", "conf_high"]
    np.testing.assert_allclose(frame.to_numpy().T, [found.estimate, bias, se, low, high])
    for kind, without in (("percentile", None), ("bca", fit.jackknife())):
        ends = fit.conf_int(method="bootstrap", n_boot=40, seed=2, resample="clusters", interval=kind)
        np.testing.assert_array_equal(ends.to_numpy().T, found.interval(kind=kind, jackknife=without))


# Clusters that are drawn, by copies of their rows --------------------------------------------------------------------

Make = Callable[..., Any]
MODELS: dict[str, Make] = {
    "intercept": lambda d, **k: cg.random_effects("k ~ x + g", d, cluster="id", family="poisson", **k),
    "logistic": lambda d, **k: cg.random_effects("y ~ x", d, cluster="id", distribution="logistic", **k),
    "slopes": lambda d, **k: cg.random_effects("k ~ x + g + (x | id)", d, family="poisson", **k),
    "nested": lambda d, **k: cg.random_effects("k ~ x + (1 | id) + (1 | room)", d, family="poisson", **k),
    "own": lambda d, **k: cg.random_effects("k ~ x", d, cluster="id", family="negative_binomial", **k),
    "ordinal": lambda d, **k: cg.random_effects("o ~ x", d, cluster="id", family="ordinal", **k),
    "censored": lambda d, **k: cg.random_effects("Surv(t, e) ~ x", d, cluster="id", family="weibull", **k),
    "gaussian": lambda d, **k: cg.random_effects("z ~ x + (x | id)", d, family="gaussian", **k),
    "reml": lambda d, **k: cg.random_effects("z ~ x + (1 | id) + (1 | room)", d, family="gaussian", reml=True, **k),
    "inflated": lambda d, **k: cg.pooled("k ~ x", d, cluster="id", family="poisson", zero_inflation="~ g", **k),
    "hurdle": lambda d, **k: cg.random_effects(
        "k ~ x + (x | id)", d, family="poisson", hurdle="~ g", quadrature="laplace", **k
    ),
    "fixed": lambda d, **k: cg.fixed_effects("y ~ x + g", d, cluster="id", bias_correction="analytical", **k),
    "conditional": lambda d, **k: cg.conditional("y ~ x + g", d, cluster="id", **k),
    "pooled": lambda d, **k: cg.pooled("y ~ x + g", d, cluster="id", penalty="firth", **k),
    "pql": lambda d, **k: cg.random_effects("y ~ x", d, cluster="id", quadrature="pql-ml", **k),
    "points": lambda d, **k: cg.nonparametric("k ~ x", d, cluster="id", family="poisson", **k),
}  # fmt: skip


@pytest.mark.parametrize("model", MODELS)
def test_replicates_are_fits_of_copied_clusters(model: str, table: pd.DataFrame) -> None:
    """As closely as searches end: about 1e-7 of a standard error."""
    make, compared = MODELS[model], 0
    found = make(table).bootstrap(3, seed=3, resample="clusters")
    assert (found.failures, len(found.replicates)) == ((), 3)
    assert "bootstrap of 12 clusters of 'id', 3 replicates of 3, seed 3" in str(found)
    for k, replicate in enumerate(found.replicates):
        again = make(copied(table, drawn(M, 3, k)), control=TIGHT)._estimates
        both = np.isfinite(again) & np.isfinite(replicate)
        assert np.array_equal(again[~both], replicate[~both])
        np.testing.assert_allclose(replicate[both], again[both], rtol=1e-6, atol=2e-6)
        compared += int(both.sum())
    assert compared >= 3


@pytest.mark.parametrize("model", ["intercept", "logistic", "slopes", "nested"])
def test_weights_say_the_same_as_copies(model: str, table: pd.DataFrame) -> None:
    """Searches that go on until they are at 1e-10 of a standard error."""
    make, clusters = MODELS[model], drawn(M, 5, 0)
    fit = make(table, control=TIGHT)
    data = clusters_taken(fit.data, np.bincount(clusters, minlength=M).astype(float))
    again = fit_again if model in ("intercept", "logistic") else mixed_again
    weighted, copies = again(fit.fit, data, None, TIGHT), make(copied(table, clusters), control=TIGHT)
    assert data.cluster_weights.max() > 1.0
    np.testing.assert_allclose(weighted.beta, copies.fit.beta, rtol=0, atol=1e-8)
    mine, theirs = (
        each.sigma if model in ("intercept", "logistic") else each.factor for each in (weighted, copies.fit)
    )
    np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-8)


def test_rows_are_drawn_where_there_are_no_clusters(table: pd.DataFrame) -> None:
    found = cg.pooled("y ~ x", table).bootstrap(2, seed=3, resample="clusters")
    assert "72 rows" in str(found)
    for k, replicate in enumerate(found.replicates):
        again = cg.pooled("y ~ x", table.iloc[drawn(72, 3, k)].reset_index(drop=True), control=TIGHT)
        np.testing.assert_allclose(replicate, again.params, atol=1e-6)


def test_the_same_numbers_in_any_number_of_threads(table: pd.DataFrame) -> None:
    fit = MODELS["intercept"](table)
    one, two = (fit.bootstrap(12, seed=4, n_jobs=jobs, resample="clusters") for jobs in (1, 2))
    assert np.array_equal(one.replicates, two.replicates)
    assert np.array_equal(fit.bootstrap(5, seed=4, resample="clusters").replicates, one.replicates[:5])
    assert not np.array_equal(fit.bootstrap(5, seed=4).replicates, one.replicates[:5])
    one, two = (fit.jackknife(n_jobs=jobs) for jobs in (1, 2))
    assert np.array_equal(one.deleted, two.deleted)


# What is deleted -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["intercept", "nested", "inflated", "reml", "censored"])
def test_fits_without_a_cluster(model: str, table: pd.DataFrame) -> None:
    make = MODELS[model]
    found = make(table).jackknife(groups=4, seed=1)
    left = np.random.default_rng(np.random.SeedSequence(1)).permutation(M)
    for j in range(4):
        again = make(table[~table.id.isin(left[j::4])], control=TIGHT)._estimates
        np.testing.assert_allclose(found.deleted[j], again, rtol=1e-6, atol=2e-6)


def test_groups_of_unequal_size(table: pd.DataFrame) -> None:
    """The formulas of Busing, Meijer and van der Leeden, in loops."""
    fit = cg.pooled("z ~ x + g", table, family="gaussian", cluster="id")
    found = fit.jackknife(groups=5, seed=7)
    assert sorted(found.sizes.tolist()) == [2, 2, 2, 3, 3]
    assert found.labels.tolist() == [1, 2, 3, 4, 5]
    theta, mean, variance = found.estimate, 0.0, 0.0
    for j in range(5):
        mean = mean + theta - (1 - found.sizes[j] / M) * found.deleted[j]
    for j in range(5):
        h = M / found.sizes[j]
        variance = variance + (h * theta - (h - 1) * found.deleted[j] - mean) ** 2 / (h - 1) / 5
    np.testing.assert_allclose(found.corrected, mean, rtol=1e-12)
    np.testing.assert_allclose(found.std_error, np.sqrt(variance), rtol=1e-12)
    assert found.df == 4
    again = fit.jackknife(groups=5, seed=found.seed)
    assert np.array_equal(again.deleted, found.deleted)
    assert "each of 5 groups of 12 clusters of 'id', seed 7" in str(found)
    single, all_of_them = fit.jackknife(), fit.jackknife(groups=M)
    np.testing.assert_allclose(all_of_them.cov(), single.cov(), rtol=1e-10)
    np.testing.assert_allclose(all_of_them.acceleration, single.acceleration, rtol=1e-8)


def test_clusters_that_stand_for_several(table: pd.DataFrame) -> None:
    times = np.array([1, 2, 1, 3, 1, 1, 2, 1, 1, 1, 1, 1])
    weighted = cg.pooled("z ~ x", table.assign(v=times[table.id]), family="gaussian", cluster="id", cluster_weights="v")
    rows = cg.pooled("z ~ x", copied(table, np.repeat(np.arange(M), times)), family="gaussian", cluster="id")
    one, other = weighted.jackknife(), rows.jackknife()
    assert (one.df, one.times.tolist()) == (times.sum() - 1, times.tolist())
    for name in ("estimate", "bias", "std_error", "acceleration"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(one.cov(centre="estimate"), other.cov(centre="estimate"), rtol=1e-8, atol=1e-14)


def test_one_step_is_that_of_influence(table: pd.DataFrame) -> None:
    fit = MODELS["intercept"](table)
    one, exact, step = fit.jackknife("one_step"), fit.jackknife(), fit.influence()
    assert (one.kind, one.names) == ("one_step", step.parameters)
    np.testing.assert_allclose(one.deleted, step.deleted, rtol=1e-12)
    assert 0.0 < np.abs(one.std_error / exact.std_error - 1.0)[1:3].max() < 0.05
    fixed = MODELS["fixed"](table)
    corrected, plain = fixed.jackknife("one_step"), fixed.influence()
    assert np.abs(corrected.estimate - plain.estimate).min() > 0.01  # one is corrected, the other is not
    np.testing.assert_allclose(corrected.deleted - corrected.estimate, plain.deleted - plain.estimate, atol=1e-12)
    assert "by one Newton step" in str(one)


def test_what_fails_is_counted(table: pd.DataFrame) -> None:
    """A level that two clusters have is lost where neither is drawn, and without one where it is the only one."""
    rare = table.assign(f=np.where(table.id < 2, "b", "a"))
    fit = cg.pooled("k ~ f + x", rare, family="poisson", cluster="id")
    found = fit.bootstrap(40, seed=1, resample="clusters")
    lost = sum(not np.isin([0, 1], drawn(M, 1, k)).any() for k in range(40))
    assert found.failures == (("constant in the rows in use: 'fb' (always 0)", lost),)
    assert len(found.replicates) == 40 - lost
    with pytest.warns(IntervalWarning, match="failed: constant"):
        fit.conf_int(method="bootstrap", n_boot=40, seed=1, resample="clusters")
    only = cg.pooled("k ~ f + x", table.assign(f=np.where(table.id < 1, "b", "a")), family="poisson", cluster="id")
    left = only.jackknife()
    assert left.failures == (("constant in the rows in use: 'fb' (always 0)", 1),)
    assert (left.df, np.isnan(left.deleted).all(axis=1).tolist()) == (10, [True] + [False] * 11)
    assert "1 without estimates, which do not count: constant in the rows in use" in str(left)
    kept = left.deleted[1:]
    np.testing.assert_allclose(left.std_error, np.sqrt(10 / 11 * ((kept - kept.mean(axis=0)) ** 2).sum(axis=0)))
    with pytest.warns(IntervalWarning, match="1 without estimates"):
        only.conf_int(method="jackknife")
    slopes = cg.random_effects(
        "z ~ x + (0 + f | id)", rare.assign(f=np.where(rare.id < 2, rare.x, 0.0)), family="gaussian"
    )
    assert any("always 0" in reason for reason, _ in slopes.bootstrap(30, seed=1, resample="clusters").failures)


def test_an_interruption_keeps_what_was_done(table: pd.DataFrame) -> None:
    fit = cg.pooled("z ~ x", table, family="gaussian", cluster="id")

    def stop(done: int, total: int) -> None:
        assert total == M
        if done >= 5:
            raise KeyboardInterrupt

    found = fit.jackknife(progress=stop)
    assert found.interrupted
    np.testing.assert_array_equal(found.deleted[:5], fit.jackknife().deleted[:5])
    assert np.isnan(found.deleted[5:]).all()
    assert found.df == 4
    assert "interrupted: what was not reached does not count" in str(found)


def test_it_prints_and_shows_its_tables(table: pd.DataFrame) -> None:
    found = MODELS["intercept"](table).jackknife()
    frame = found.to_frame(centre="estimate", alpha=0.1)
    columns = ["estimate", "bias", "corrected", "std_error", "df", "conf_low", "conf_high"]
    assert (frame.columns.tolist(), frame.index.tolist()) == (columns, list(found.names))
    np.testing.assert_allclose(frame.std_error, np.sqrt(np.diag(found.cov("estimate"))))
    assert str(found).startswith("Jackknife: estimates without each of 12 clusters of 'id', by fitting again\nterm ")
    assert "<table" in found.to_html()
    assert found.to_html() == found._repr_html_()
    each = found.table()
    assert each.columns[:4].tolist() == ["label", "n_clusters", "times", "deleted_(Intercept)"]
    assert (len(each), each.label.tolist()) == (M, list(range(M)))
    np.testing.assert_array_equal(each["pseudo_x"], found.pseudo_values[:, found.names.index("x")])


def test_a_parameter_at_the_end_of_its_range_is_said(table: pd.DataFrame) -> None:
    """Counts without inflation: the log odds of a zero for certain run to minus infinity where too few are 0."""
    plain = table.assign(k=np.random.default_rng(1).poisson(np.exp(0.3 + 0.5 * table.x)))
    fit = cg.pooled("k ~ x", plain, cluster="id", family="poisson", zero_inflation="~ 1")
    for found in (fit.bootstrap(12, seed=3, resample="clusters"), fit.jackknife()):
        values = found.replicates if isinstance(found, BootstrapEstimates) else found.deleted
        number = int(np.isinf(values[:, -1]).sum())
        assert 0 < number < 12
        assert f"zero: (Intercept) is infinite or undefined in {number} of 12" in str(found)
        assert np.isfinite(found.std_error[:2]).all()
        assert np.isnan(found.std_error[2])


# What is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda d: cg.random_effects("k ~ x + (1 | id) + (1 | part)", d, family="poisson"),
        lambda d: cg.random_effects("z ~ x + (1 | id) + (1 | part)", d, family="gaussian"),
        lambda d: cg.fixed_effects("k ~ x", d, cluster=["id", "part"], family="poisson"),
    ],
)
def test_factors_that_cross(make: Make, table: pd.DataFrame) -> None:
    fit = make(table)
    with pytest.raises(OptionError, match="Owen, Annals of Applied Statistics 1, 2007"):
        fit.bootstrap(2, resample="clusters")
    with pytest.raises(OptionError, match=r"Owen|effects of two factors"):
        fit.jackknife()


def test_bad_options(table: pd.DataFrame) -> None:
    fit = cg.pooled("z ~ x", table, family="gaussian", cluster="id")
    found = fit.bootstrap(3, seed=1, resample="clusters")
    other = cg.pooled("z ~ x + g", table, family="gaussian", cluster="id").jackknife()
    for call, words in (
        (lambda: fit.bootstrap(3, resample="rows"), "resample='rows'"),
        (lambda: fit.jackknife("newton"), "kind='newton'"),
        (lambda: fit.jackknife(groups=1), "groups=1"),
        (lambda: fit.jackknife(groups=13), "groups=13"),
        (lambda: fit.jackknife("one_step"), "influence of a fit with family='gaussian'"),
        (lambda: MODELS["points"](table).jackknife("one_step"), "a jackknife of a nonparametric fit by one step"),
        (lambda: MODELS["intercept"](table).jackknife("one_step", groups=3), "groups=3 with kind='one_step'"),
        (lambda: found.interval(kind="student"), "kind='student'"),
        (lambda: found.interval(kind="bca"), "without the jackknife"),
        (lambda: found.interval(kind="bca", jackknife=other), "with a jackknife of"),
        (lambda: other.cov("median"), "centre='median'"),
        (lambda: fit.conf_int(resample="clusters"), "resample='clusters'"),
        (lambda: fit.conf_int(method="bootstrap", interval="student"), "interval='student'"),
    ):
        with pytest.raises(OptionError, match=words):
            call()
    single = replace(
        fit, data=replace(fit.data, starts=np.array([0, 72]), labels=np.array([0]), cluster_weights=np.ones(1))
    )
    for call in (single.jackknife, lambda: single.bootstrap(2, resample="clusters")):
        with pytest.raises(ClusterError, match="of the only cluster"):
            call()
