"""Small samples: CR2 and its kin against their definitions, and Satterthwaite's degrees of freedom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.linalg import sqrtm

import clusterglm as cg
from clusterglm.errors import ClusterError, OptionError

DATA = Path(__file__).parents[1] / "golden" / "data"


# Robust covariances of few clusters -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def few() -> pd.DataFrame:
    rng = np.random.default_rng(8)
    sizes = [2, 3, 5, 7, 1, 4, 9, 6]
    group = np.repeat(np.arange(len(sizes)), sizes)
    x, z = rng.normal(size=len(group)), (group % 2).astype(float)
    eta = 0.4 * x - 0.3 * z + 0.5 * rng.normal(size=len(sizes))[group]
    return pd.DataFrame(
        {
            "group": group,
            "x": x,
            "z": z,
            "measure": eta + rng.normal(size=len(group)) * (1.0 + 0.3 * group),
            "binary": (rng.random(len(group)) < 1 / (1 + np.exp(-eta))).astype(int),
            "count": rng.poisson(np.exp(eta)),
        }
    )


CASES = {"measure": ("gaussian", "identity"), "binary": ("binomial", "logit"), "count": ("poisson", "log")}


class Definition:
    """All matrices in full, as Pustejovsky and Tipton (2018) write them; rows of any order."""

    def __init__(self, data: pd.DataFrame, response: str, fit: Any, weights: np.ndarray) -> None:
        self.X = np.column_stack([np.ones(len(data)), data[["x", "z"]]])
        mu = fit.predict().to_numpy()
        self.W = np.diag(weights)
        self.Phi = np.diag(1.0 / weights)
        family = CASES[response][0]
        slope = np.ones(len(mu)) if family == "gaussian" else mu * (1 - mu) if family == "binomial" else mu
        self.e = (data[response].to_numpy() - mu) / slope
        self.M = np.linalg.inv(self.X.T @ self.W @ self.X)
        self.H = self.X @ self.M @ self.X.T @ self.W
        self.clusters = [np.flatnonzero(data["group"] == g) for g in data["group"].unique()]

    def adjustment(self, kind: str, rows: np.ndarray) -> np.ndarray:
        left = np.eye(len(self.X))[rows] - self.H[rows]
        if kind == "CR3":
            return np.linalg.inv(left[:, rows])
        if kind != "CR2":
            return np.eye(len(rows))
        D = np.sqrt(self.Phi[np.ix_(rows, rows)])
        B = D @ left @ self.Phi @ left.T @ D.T
        return np.real(D.T @ np.linalg.inv(sqrtm(B)) @ D)

    def covariance(self, kind: str) -> np.ndarray:
        parts = [
            self.M @ self.X[rows].T @ self.W[np.ix_(rows, rows)] @ self.adjustment(kind, rows) @ self.e[rows]
            for rows in self.clusters
        ]
        m = len(parts)
        return sum(np.outer(part, part) for part in parts) * (m / (m - 1) if kind == "CR1" else 1.0)

    def quadratic_forms(self, kind: str, R: np.ndarray) -> np.ndarray:
        """Matrices p_i of each combination, shape (k, m, n): the covariance is sum (p_i'e)(p_i'e)'."""
        left = np.eye(len(self.X)) - self.H
        out = []
        for c in R:
            rows_of = [
                left[rows].T @ self.adjustment(kind, rows).T @ self.W[np.ix_(rows, rows)] @ self.X[rows] @ self.M @ c
                for rows in self.clusters
            ]
            out.append(rows_of)
        return np.array(out)

    def degrees(self, kind: str, c: np.ndarray) -> float:
        """Of a quadratic form in normal variables: 2 mean^2 / variance, by its eigenvalues."""
        P = self.quadratic_forms(kind, c[None])[0]
        lam = np.linalg.eigvalsh(P @ self.Phi @ P.T)
        return float(lam.sum() ** 2 / (lam**2).sum())


@pytest.mark.parametrize("kind", ["CR0", "CR1", "CR2", "CR3"])
@pytest.mark.parametrize("response", CASES)
def test_covariances_and_degrees_are_as_defined(few: pd.DataFrame, response: str, kind: str) -> None:
    family, link = CASES[response]
    shuffled = few.sample(frac=1.0, random_state=3).reset_index(drop=True)
    fit = cg.pooled(f"{response} ~ x + z", shuffled, family=family, link=link, cluster="group")
    mu = fit.predict().to_numpy()
    weights = {"gaussian": np.ones(len(mu)), "binomial": mu * (1 - mu), "poisson": mu}[family]
    known = Definition(shuffled, response, fit, weights)
    V = fit.cov(kind).to_numpy()[:3, :3]
    np.testing.assert_allclose(V, known.covariance(kind), rtol=1e-7)
    table = fit.tidy(cov=kind, df="satterthwaite").head(3)
    expected = [known.degrees(kind, c) for c in np.eye(3)]
    np.testing.assert_allclose(table["df"], expected, rtol=1e-6)
    t = table["estimate"] / table["std_error"]
    np.testing.assert_allclose(table["pvalue"], 2 * stats.t.sf(np.abs(t), expected), rtol=1e-6)
    half = stats.t.ppf(0.975, expected) * table["std_error"]
    np.testing.assert_allclose(table["conf_high"], table["estimate"] + half, rtol=1e-7)
    ends = fit.conf_int(cov=kind, df="satterthwaite").head(3)
    np.testing.assert_allclose(ends["low"], table["conf_low"], rtol=1e-12)
    if kind == "CR1":
        np.testing.assert_allclose(V, fit.cov("robust").to_numpy()[:3, :3], rtol=1e-8)


def test_the_mean_of_a_sample_has_closed_forms(few: pd.DataFrame) -> None:
    """Of an intercept alone, as clubSandwich's own tests have them (test_intercept_formulas.R)."""
    fit = cg.pooled("measure ~ 1", few, family="gaussian", cluster="group")
    groups = few.groupby("group")["measure"]
    n, means = groups.size().to_numpy(), groups.mean().to_numpy()
    N, left = n.sum(), n**2 * (means - few["measure"].mean()) ** 2
    m = len(n)
    for kind, each in (
        ("CR0", left),
        ("CR1", left * m / (m - 1)),
        ("CR2", left / (1 - n / N)),
        ("CR3", left / (1 - n / N) ** 2),
    ):
        assert fit.cov(kind).iloc[0, 0] == pytest.approx(each.sum() / N**2, rel=1e-10)
    plain = (N**2 - (n**2).sum()) ** 2 / (N**2 * (n**2).sum() - 2 * N * (n**3).sum() + (n**2).sum() ** 2)
    reduced = N**2 / (
        N**2 * (n**2 / (N - n) ** 2).sum() - 2 * N * (n**3 / (N - n) ** 2).sum() + (n**2 / (N - n)).sum() ** 2
    )
    for kind, df in (("CR0", plain), ("CR1", plain), ("CR2", reduced)):
        test = fit.wald_test("`(Intercept)` = 0.1", cov=kind, df="satterthwaite")
        assert test.degrees is not None
        assert test.degrees.joint == pytest.approx(df, rel=1e-9)
        t = (few["measure"].mean() - 0.1) / np.sqrt(fit.cov(kind).iloc[0, 0])
        assert test.pvalue == pytest.approx(2 * stats.t.sf(abs(t), df), rel=1e-8)
    assert "F = " in str(test)


@pytest.mark.parametrize("response", CASES)
def test_hypotheses_together_have_the_degrees_of_their_total_variance(few: pd.DataFrame, response: str) -> None:
    """Hotelling's T^2: Var of every element of the covariance, in full, from the covariances of normal products."""
    family, link = CASES[response]
    fit = cg.pooled(f"{response} ~ x + z", few, family=family, link=link, cluster="group")
    mu = fit.predict().to_numpy()
    weights = {"gaussian": np.ones(len(mu)), "binomial": mu * (1 - mu), "poisson": mu}[family]
    known = Definition(few, response, fit, weights)
    R = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    P = known.quadratic_forms("CR2", R)
    whole = np.einsum("sin,nk,tjk->stij", P, known.Phi, P)  # E[p_si'e e'p_tj]
    omega = np.einsum("stii->st", whole)
    root = np.real(np.linalg.inv(sqrtm(omega)))
    P = np.einsum("st,tin->sin", root, P)
    B = np.einsum("sin,nk,tjk->stij", P, known.Phi, P)
    total = sum((B[s, s] * B[t, t] + B[s, t] * B[t, s]).sum() for s in range(2) for t in range(2))
    eta = 2 * 3 / total
    test = fit.wald_test("x = 0, z = 0", cov="CR2", df="satterthwaite")
    assert test.degrees is not None
    assert test.degrees.joint == pytest.approx(eta - 1, rel=1e-7)
    F = (eta - 1) / (eta * 2) * test.statistic
    assert test.pvalue == pytest.approx(stats.f.sf(F, 2, eta - 1), rel=1e-7)
    tests = fit.term_tests(cov="CR2", df="satterthwaite").set_index("term")
    one = fit.tidy(cov="CR2", df="satterthwaite").set_index("term")
    np.testing.assert_allclose(tests["pvalue"], one.loc[["x", "z"], "pvalue"], rtol=1e-9)


def test_corrected_covariances_have_the_right_mean() -> None:
    """CR2's, if the working model holds, in any design; CR0's is too small."""
    rng = np.random.default_rng(4)
    group = np.repeat(np.arange(6), [2, 3, 4, 8, 3, 5])
    x = rng.normal(size=25) + group
    found = {"CR0": [], "CR2": []}
    for _ in range(400):
        table = pd.DataFrame({"y": rng.normal(size=25), "x": x, "group": group})
        fit = cg.pooled("y ~ x", table, family="gaussian", cluster="group")
        for kind, values in found.items():
            values.append(fit.cov(kind).loc["x", "x"])
    true = 1.0 / np.sum((x - x.mean()) ** 2)
    mean, error = np.mean(found["CR2"]), np.std(found["CR2"]) / 20
    assert abs(mean - true) < 4 * error
    assert np.mean(found["CR0"]) < 0.8 * true


def test_coefficients_of_clusters_and_what_is_refused(few: pd.DataFrame) -> None:
    """With an intercept for each cluster, hat matrices have an eigenvalue 1, which a generalised inverse leaves out."""
    fit = cg.pooled("measure ~ x + C(group)", few, family="gaussian", cluster="group")
    assert np.isfinite(fit.cov("CR2").loc["x", "x"])
    test = fit.wald_test("x = 0", cov="CR2", df="satterthwaite")
    assert test.degrees is not None
    assert test.degrees.joint > 1.0
    plain = cg.pooled("binary ~ x", few, cluster="group")
    with pytest.raises(OptionError, match="degrees of freedom of a pooled fit"):
        plain.tidy(df="satterthwaite")
    with pytest.raises(OptionError, match="df='kenward'"):
        plain.tidy(cov="CR2", df="kenward")
    with pytest.raises(OptionError, match="with weights"):
        cg.pooled("binary ~ x", few.assign(w=2), cluster="group", weights="w").cov("CR2")
    with pytest.raises(ClusterError, match="single cluster"):
        cg.pooled("binary ~ x", few.assign(one=1), cluster="one").cov("CR2")
    with pytest.raises(OptionError):
        cg.random_effects("binary ~ x", few, cluster="group").cov("CR2")
    with pytest.raises(OptionError, match="Wald intervals"):
        plain.conf_int(cov="CR2", df="satterthwaite", method="profile")
    rows = cg.pooled("measure ~ x", few, family="gaussian")  # rows are clusters: HC0 to HC3
    X = np.column_stack([np.ones(len(few)), few["x"]])
    M = np.linalg.inv(X.T @ X)
    h, e = np.einsum("ij,jk,ik->i", X, M, X), few["measure"] - rows.predict().to_numpy()
    for kind, each in (("CR0", e**2), ("CR2", e**2 / (1 - h)), ("CR3", e**2 / (1 - h) ** 2)):
        V = M @ (X.T * each.to_numpy()) @ X @ M
        np.testing.assert_allclose(rows.cov(kind).to_numpy()[:2, :2], V, rtol=1e-9)


# Linear mixed models --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sleep() -> pd.DataFrame:
    return pd.read_csv(DATA / "sleepstudy.csv")


def test_sleepstudy_is_as_lmertest_prints_it(sleep: pd.DataFrame) -> None:
    """F = 45.853 on 1 and 17, p = 3.264e-06: lmerTest 3.1-3, ?anova.lmerModLmerTest; pbkrtest, ?SATmodcomp."""
    fit = cg.random_effects("Reaction ~ Days + (Days | Subject)", sleep, family="gaussian", reml=True)
    test = fit.wald_test("Days = 0", df="satterthwaite")
    assert test.degrees is not None
    assert test.degrees.joint == pytest.approx(17.0, abs=2e-3)
    assert round(test.statistic, 3) == 45.853
    assert f"{test.pvalue:.3e}" == "3.264e-06"
    table = fit.tidy(df="satterthwaite")
    assert table["df"].round(2).to_list()[:2] == [17.0, 17.0]
    assert table["df"][2:].isna().all()
    ends = 10.46729 + np.array([-1, 1]) * 1.545790 * stats.t.ppf(0.975, 17.0)
    assert [table["conf_low"][1], table["conf_high"][1]] == pytest.approx(ends.tolist(), abs=2e-4)


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize(
    ("name", "formula"),
    [("sleepstudy", "Reaction ~ Days + (Days || Subject)"), ("sleepstudy", "Reaction ~ Days + (1 | Subject)"),
     ("cake", "angle ~ recipe * temp10 + (1 | recipe:replicate)"), ("pastes", "strength ~ 1 + (1 | batch/cask)"),
     ("sleepstudy", "Reaction ~ Days + I(Days**2) + (Days | Subject)")],
)  # fmt: skip
def test_degrees_are_those_of_differences(name: str, formula: str, reml: bool) -> None:
    """From the covariance of generalised least squares in full, and the likelihood's Hessian, both by differences."""
    data = pd.read_csv(DATA / f"{name}.csv")
    if name == "cake":
        data = data.assign(temp10=(data["temp"] - 200.0) / 10.0) if "temp10" not in data else data
    elif name == "sleepstudy":
        data = data.iloc[:-7]  # unbalanced
    fit = cg.random_effects(formula, data, family="gaussian", reml=reml, control=cg.Control(tol=1e-10))
    inner, p = fit.fit, len(fit.params)
    rows, effects = inner.data, inner.effects
    y = rows.a

    def covariance(psi: np.ndarray) -> tuple[np.ndarray, float]:
        """Of coefficients, and minus twice the profile log-likelihood."""
        L, s = effects.covariance.factor(psi[:-1]), psi[-1]
        V = s * s * np.eye(len(y))
        for levels, factor in zip(effects.groupings, inner.task.statistics.factors, strict=True):
            own = factor.columns
            A = effects.Z[:, own] @ L[np.ix_(own, own)]
            V = V + (A @ A.T) * (levels.codes[:, None] == levels.codes)
        inverse = np.linalg.inv(V)
        G = rows.X.T @ inverse @ rows.X
        beta = np.linalg.solve(G, rows.X.T @ inverse @ y)
        left = y - rows.X @ beta
        minus = np.linalg.slogdet(V)[1] + left @ inverse @ left + (np.linalg.slogdet(G)[1] if reml else 0.0)
        return np.linalg.inv(G), float(minus)

    at = np.append(inner.phi, inner.residual_sd)
    k, h = len(at), 1e-3 * np.maximum(np.abs(at), 1.0)
    steps = np.diag(h)
    gradient = np.array([(covariance(at + d)[0] - covariance(at - d)[0]) / (2 * h[j]) for j, d in enumerate(steps)])
    hessian = np.empty((k, k))
    for i in range(k):
        for j in range(k):
            signs = [(1, 1), (1, -1), (-1, 1), (-1, -1)]
            values = [a * b * covariance(at + a * steps[i] + b * steps[j])[1] for a, b in signs]
            hessian[i, j] = sum(values) / (4 * h[i] * h[j])
    uncertainty = 2.0 * np.linalg.inv(hessian)
    V = covariance(at)[0]
    g = np.einsum("rii->ir", gradient)
    expected = 2.0 * np.diag(V) ** 2 / np.einsum("ir,rs,is->i", g, uncertainty, g)
    found = fit.tidy(df="satterthwaite")["df"].to_numpy()[:p]
    np.testing.assert_allclose(found, expected, rtol=2e-3)


class Dense:
    """Kenward and Roger (1997) as they write it, matrices of n rows in full; V linear in sigma, the residual last."""

    def __init__(self, V: np.ndarray, G: list[np.ndarray], X: np.ndarray) -> None:
        inverse = np.linalg.inv(V)
        self.Phi = np.linalg.inv(X.T @ inverse @ X)
        self.P = [-X.T @ inverse @ g @ inverse @ X for g in G]
        r = range(len(G))
        Q = [[X.T @ inverse @ G[i] @ inverse @ G[j] @ inverse @ X for j in r] for i in r]
        information = [
            [
                np.trace(inverse @ G[i] @ inverse @ G[j])
                - 2 * np.trace(self.Phi @ Q[i][j])
                + np.trace(self.Phi @ self.P[i] @ self.Phi @ self.P[j])
                for j in r
            ]
            for i in r
        ]
        self.W = np.linalg.inv(0.5 * np.array(information))
        inside = sum(self.W[i, j] * (Q[i][j] - self.P[i] @ self.Phi @ self.P[j]) for i in r for j in r)
        self.adjusted = self.Phi + 2 * self.Phi @ inside @ self.Phi

    def degrees(self, R: np.ndarray) -> tuple[float, float]:
        """m, and lambda."""
        k, Phi, P = len(R), self.Phi, self.P
        Theta = R.T @ np.linalg.inv(R @ Phi @ R.T) @ R
        r = range(len(P))
        A1 = sum(
            self.W[i, j] * np.trace(Theta @ Phi @ P[i] @ Phi) * np.trace(Theta @ Phi @ P[j] @ Phi) for i in r for j in r
        )
        A2 = sum(self.W[i, j] * np.trace(Theta @ Phi @ P[i] @ Phi @ Theta @ Phi @ P[j] @ Phi) for i in r for j in r)
        B = (A1 + 6 * A2) / (2 * k)
        g = ((k + 1) * A1 - (k + 4) * A2) / ((k + 2) * A2)
        c1, c2, c3 = (each / (3 * k + 2 * (1 - g)) for each in (g, k - g, k + 2 - g))
        mean = 1 / (1 - A2 / k)
        variance = 2 / k * (1 + c1 * B) / ((1 - c2 * B) ** 2 * (1 - c3 * B))
        rho = variance / (2 * mean**2)
        m = 4 + (k + 2) / (k * rho - 1)
        return float(m), float(m / (mean * (m - 2)))


@pytest.mark.parametrize(
    ("name", "formula"),
    [("sleepstudy", "Reaction ~ Days + (Days | Subject)"), ("sleepstudy", "Reaction ~ Days + (Days || Subject)"),
     ("cake", "angle ~ recipe * temp10 + (1 | recipe:replicate)"), ("pastes", "strength ~ 1 + (1 | batch/cask)"),
     ("penicillin", "diameter ~ 1 + (1 | plate) + (1 | sample)"),
     ("sleepstudy", "Reaction ~ Days + I(Days**2) + (Days | Subject)"),
     ("sleepstudy", "Reaction ~ Days + homdiag(1 + I(Days - 4.5) | Subject)")],
)  # fmt: skip
def test_kenward_and_roger_are_as_they_write(name: str, formula: str) -> None:
    data = pd.read_csv(DATA / f"{name}.csv")
    if name == "cake":
        data = data.assign(temp10=(data["temp"] - 200.0) / 10.0) if "temp10" not in data else data
    data = data.drop(index=[1, 4, 5, 17, 30, 31, 32])  # unbalanced
    fit = cg.random_effects(formula, data, family="gaussian", reml=True)
    inner = fit.fit
    rows, effects = inner.data, inner.effects
    n = len(rows.a)
    V, G = inner.residual_sd**2 * np.eye(n), []
    for term, where in effects.covariance.blocks():
        codes = next(levels.codes for levels in effects.groupings if levels.group == term.group)
        same, Z = codes[:, None] == codes, effects.Z[:, where]
        L = inner.factor[where, where]
        V += (Z @ L @ L.T @ Z.T) * same
        d = Z.shape[1]
        pairs = [(i, j) for i in range(d) for j in range(i + 1) if i == j or term.structure == "us"]
        each = [(np.outer(Z[:, i], Z[:, j]) + np.outer(Z[:, j], Z[:, i])) * same / (1 + (i == j)) for i, j in pairs]
        G += [sum(each)] if term.structure == "homdiag" else each
    known = Dense(V, [*G, np.eye(n)], rows.X)
    p = len(fit.params)
    np.testing.assert_allclose(fit.cov("kenward_roger").to_numpy()[:p, :p], known.adjusted, rtol=1e-7, atol=1e-12)
    table = fit.tidy(df="kenward_roger").head(p)
    np.testing.assert_allclose(table["std_error"], np.sqrt(np.diag(known.adjusted)), rtol=1e-8)
    np.testing.assert_allclose(table["df"], [known.degrees(c[None])[0] for c in np.eye(p)], rtol=1e-6)
    summary = fit.summary(df="kenward_roger").coefficients
    np.testing.assert_array_equal(summary.df, table["df"])
    np.testing.assert_array_equal(summary.p, table["pvalue"])
    if p > 1:
        R = np.eye(p)[1:]
        test = fit.wald_test(R, df="kenward_roger")
        m, scale = known.degrees(R)
        assert test.degrees is not None
        assert test.degrees.joint == pytest.approx(m, rel=1e-6)
        b = fit.params.to_numpy()[1:]
        F = scale / (p - 1) * b @ np.linalg.solve(known.adjusted[1:, 1:], b)
        assert test.pvalue == pytest.approx(stats.f.sf(F, p - 1, m), rel=1e-5)


def test_kenward_and_roger_refuse_in_words(sleep: pd.DataFrame, few: pd.DataFrame) -> None:
    formula = "Reaction ~ Days + (Days | Subject)"
    ml = cg.random_effects(formula, sleep, family="gaussian")
    reml = cg.random_effects(formula, sleep, family="gaussian", reml=True)
    with pytest.raises(OptionError, match="maximum likelihood"):
        ml.summary(df="kenward_roger")
    with pytest.raises(OptionError, match="degrees of freedom that belong to the covariance"):
        reml.tidy(cov="kenward_roger", df="satterthwaite")
    with pytest.raises(OptionError, match="with weights"):
        cg.random_effects(formula, sleep.assign(w=2), family="gaussian", reml=True, weights="w").summary(
            df="kenward_roger"
        )
    related = cg.random_effects("Reaction ~ Days + cs(Days | Subject)", sleep, family="gaussian", reml=True)
    with pytest.raises(OptionError, match="'cs'"):
        related.summary(df="kenward_roger")
    with pytest.raises(OptionError, match="degrees of freedom of a pooled fit"):
        cg.pooled("binary ~ x", few, cluster="group").summary(df="kenward_roger")
    with pytest.raises(OptionError, match="degrees of freedom of a pooled fit"):
        cg.pooled("binary ~ x", few, cluster="group").adjusted_means("x", at={"x": [0, 1]}, df="satterthwaite")


# Least squares, and what all tables show ------------------------------------------------------------------------------


def test_least_squares_have_the_degrees_of_their_residuals(few: pd.DataFrame) -> None:
    fit = cg.pooled("measure ~ x + z", few, family="gaussian", reml=True)
    X = np.column_stack([np.ones(len(few)), few[["x", "z"]]])
    beta, rss = np.linalg.lstsq(X, few["measure"], rcond=None)[:2]
    nu = len(few) - 3
    se = np.sqrt(rss[0] / nu * np.diag(np.linalg.inv(X.T @ X)))
    table = fit.summary(df="satterthwaite").coefficients
    np.testing.assert_allclose(table.df, nu, rtol=1e-10)
    np.testing.assert_allclose(table.se, se, rtol=1e-10)
    np.testing.assert_allclose(table.p, 2 * stats.t.sf(np.abs(beta / se), nu), rtol=1e-8)
    assert fit.reml
    assert "Restricted log-likelihood" in str(fit)
    again = cg.update(fit, "~ . - z", few)
    assert again.reml
    both = fit.wald_test("x = 0, z = 0", df="satterthwaite")
    alone = np.sum((few["measure"] - few["measure"].mean()) ** 2)
    assert both.pvalue == pytest.approx(stats.f.sf((alone - rss[0]) / 2 / (rss[0] / nu), 2, nu), rel=1e-8)
    with pytest.raises(OptionError, match="reml=True"):
        cg.pooled("binary ~ x", few, reml=True)


def test_a_summary_says_what_its_errors_are(sleep: pd.DataFrame, few: pd.DataFrame) -> None:
    fit = cg.random_effects("Reaction ~ Days + (Days | Subject)", sleep, family="gaussian", reml=True)
    plain, text = str(fit.summary()), str(fit.summary(df="satterthwaite"))
    assert str(fit) == plain
    assert "z value" in plain
    assert "df  t value  Pr(>|t|)" in text
    assert "17.00" in text
    said = " ".join(str(caveat) for caveat in fit._caveats())
    assert "profile intervals, which a fit with reml=False has" in said
    assert "maximum likelihood puts" not in said
    assert "Satterthwaite's degrees of freedom" in " ".join(text.split())
    assert "Kenward and Roger's; t with their degrees of freedom" in str(fit.summary(df="kenward_roger"))
    html = fit.summary(df="satterthwaite")._repr_html_()
    assert "<th>df</th><th>t value</th>" in html
    robust = cg.pooled("count ~ x", few, family="poisson", cluster="group")
    table = robust.summary(cov="robust").coefficients
    np.testing.assert_allclose(table.se, np.sqrt(np.diag(robust.cov("robust"))), rtol=1e-12)
    assert table.df is None
    with pytest.raises(OptionError, match="cov='CR9'"):
        robust.summary(cov="CR9")
    zeros = cg.pooled("count ~ x", few, family="poisson", cluster="group", hurdle="~ 1")
    found = zeros.summary(cov="robust")
    both = np.append(found.coefficients.se, found.others[0][1].se)
    np.testing.assert_allclose(both, np.sqrt(np.diag(zeros.cov("robust"))), rtol=1e-8)


def test_a_randomised_block_design_has_the_degrees_of_its_analysis_of_variance() -> None:
    """Cake, balanced: temperature against the residual (45 cakes in 6 pieces), recipes against the cakes."""
    cake = pd.read_csv(DATA / "cake.csv").assign(temperature=lambda d: d["temp"].astype(str))
    fit = cg.random_effects("angle ~ recipe + temperature + (1 | recipe:replicate)", cake, family="gaussian", reml=True)
    tests = fit.term_tests(df="satterthwaite").set_index("term")
    assert tests.loc["temperature", "df_denominator"] == pytest.approx(220.0, rel=1e-4)
    assert tests.loc["recipe", "df_denominator"] == pytest.approx(42.0, rel=1e-4)
    means = cake.groupby("temperature")["angle"].mean()
    cakes = cake.groupby(["recipe", "replicate"])["angle"].transform("mean")
    fitted = cakes + cake["temperature"].map(means) - cake["angle"].mean()
    F = 45 * ((means - cake["angle"].mean()) ** 2).sum() / 5 / (((cake["angle"] - fitted) ** 2).sum() / 220)
    assert tests.loc["temperature", "F"] == pytest.approx(F, rel=1e-6)
    assert tests.loc["temperature", "pvalue"] == pytest.approx(stats.f.sf(F, 5, 220), rel=1e-4)


def test_a_singular_fit_and_other_models_answer(sleep: pd.DataFrame) -> None:
    means = np.random.default_rng(1).permutation(np.tile(np.arange(10.0), 18))
    flat = sleep.assign(y=means - pd.Series(means).groupby(sleep["Subject"]).transform("mean"))
    fit = cg.random_effects("y ~ Days + (1 | Subject)", flat, family="gaussian", reml=True)
    assert fit.singular
    assert fit.tidy(df="satterthwaite")["df"][:2].to_list() == pytest.approx([178.0, 178.0], rel=1e-6)
    with pytest.raises(OptionError, match="degrees of freedom"):
        cg.random_effects("y ~ Days", flat.assign(y=flat.y > 5), cluster="Subject").conf_int(df="satterthwaite")
