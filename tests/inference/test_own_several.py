"""Deletion of clusters, and tests of no clustering, with several effects and a response with parameters of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2

import clusterglm as cg
from clusterglm.errors import OptionError

NB = "negative_binomial"
FORMS = {"slopes": "(x | a)", "nested": "(1 | a/b)", "singular": "(x | a)"}


def drawn(family: str, form: str, m: int = 14, seed: int = 2, alpha: float = 0.5) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    a, n = np.repeat(np.arange(m), 12), m * 12
    data = pd.DataFrame({"a": a, "b": np.arange(n) // 4, "item": np.arange(n) % 6, "x": rng.normal(size=n)})
    eta = 0.5 * data["x"] + 0.7 * rng.normal(size=m)[a]
    if form == "slopes":
        eta += 0.5 * rng.normal(size=m)[a] * data["x"]
    if form == "nested":
        eta += 0.6 * rng.normal(size=3 * m)[data["b"]]
    if family == NB:
        return data.assign(y=rng.poisson(np.exp(0.5 + eta) * (rng.gamma(1.0 / alpha, alpha, n) if alpha else 1.0)))
    return data.assign(y=np.digitize(eta + rng.logistic(size=n), [-1.0, 0.3, 1.5]))


def fitted(family: str, form: str, data: pd.DataFrame, **given: Any) -> Any:
    return cg.random_effects(f"y ~ x + {FORMS[form]}", data, family=family, quadrature=8, **given)


@pytest.fixture(scope="module", params=[(NB, "slopes"), (NB, "nested"), ("ordinal", "slopes"), ("ordinal", "nested")])
def case(request: pytest.FixtureRequest) -> tuple[str, str, pd.DataFrame, Any]:
    family, form = request.param
    data = drawn(family, form)
    return family, form, data, fitted(family, form, data, control=cg.Control(tol=1e-9))


def shown(fit: Any) -> np.ndarray:
    """Coefficients, the response's parameters, standard deviations and correlations, as `Influence` has them."""
    return np.concatenate([fit.params, fit.family_parameters, fit.variance_components["estimate"]])


def test_exact_deletion_is_the_fit_without_the_cluster(case: tuple[str, str, pd.DataFrame, Any]) -> None:
    family, form, data, fit = case
    found = fit.influence("exact", clusters=[3, 9])
    assert list(found.parameters[: 1 + len(fit.params)]) == [*fit.params.index, fit.family_parameters.index[0]]
    assert found.estimate == pytest.approx(shown(fit), rel=1e-8)
    for at, cluster in enumerate((3, 9)):
        without = fitted(family, form, data[data["a"] != cluster], control=cg.Control(tol=1e-9))
        assert (np.abs(found.deleted[at] - shown(without)) / found.se).max() < 1e-5
    assert (found.displacement > 0.0).all()


def test_one_step_is_near_it_and_rests_on_shares_of_the_hessian(case: tuple[str, str, pd.DataFrame, Any]) -> None:
    fit = case[-1]
    deletion = fit._deletion()
    total = sum(deletion.cluster_hessian(i) for i in range(14))
    size = np.sqrt(np.outer(np.diag(deletion.information), np.diag(deletion.information)))
    assert np.abs((total + deletion.information) / size).max() < 1e-6
    assert np.abs(deletion.scores.sum(axis=0) / np.sqrt(np.diag(deletion.information))).max() < 1e-4
    one, exact = fit.influence(), fit.influence("exact", clusters=[3, 9])
    assert one.dfbetas.shape == (14, len(deletion.theta))
    # where a cluster moves an estimate by little, a step leads near; where by much, in the same direction
    steps, moves = one.dfbetas[[3, 9]], exact.dfbetas
    assert np.abs(steps - moves).max() < 0.1 + 0.5 * np.abs(moves).max()


def test_the_likelihood_of_all_data_is_lower_elsewhere(case: tuple[str, str, pd.DataFrame, Any]) -> None:
    deletion = case[-1]._deletion()
    top = deletion.loglik(deletion.theta)
    assert top == pytest.approx(case[-1].loglik, abs=1e-6)
    rng, root = np.random.default_rng(1), np.linalg.inv(np.linalg.cholesky(deletion.information)).T
    for _ in range(3):
        u = 0.05 * rng.normal(size=len(root))
        assert deletion.loglik(deletion.theta + root @ u) - top == pytest.approx(-0.5 * u @ u, rel=0.05)


def test_at_the_end_of_alpha_it_is_deletion_from_the_poisson_fit() -> None:
    data = drawn(NB, "slopes", alpha=0.0)
    fit = fitted(NB, "slopes", data)
    assert fit.family_parameters["alpha"] == 0.0
    poisson = fitted("poisson", "slopes", data)
    assert fit.influence().cook == pytest.approx(poisson.influence().cook, rel=1e-6)


def test_where_the_covariance_is_singular() -> None:
    data = drawn("ordinal", "singular", seed=4)
    fit = fitted("ordinal", "singular", data)
    assert fit.singular
    deletion = fit._deletion()
    total = sum(deletion.cluster_hessian(i) for i in range(14))
    assert total == pytest.approx(-deletion.information, rel=1e-6, abs=1e-6)
    assert np.isfinite(fit.influence().cook).all()


def test_crossed_factors_have_no_clusters_to_delete_but_a_test() -> None:
    data = drawn(NB, "slopes", m=8)
    fit: Any = cg.random_effects("y ~ x + (1 | a) + (1 | item)", data, family=NB, quadrature="laplace")
    with pytest.raises(OptionError, match="influence of single clusters in a model with crossed"):
        fit.influence()
    test = fit.test_clustering(n_boot=3, seed=1)
    assert test.statistic == pytest.approx(2.0 * (fit.loglik - fit.pooled.loglik))
    assert len(test.replicates) == 3


@pytest.mark.parametrize("family", [NB, "ordinal"])
def test_a_replicate_is_the_two_fits_to_its_responses(family: str) -> None:
    data = drawn(family, "slopes", m=10)
    fit, null = fitted(family, "slopes", data), cg.pooled("y ~ x", data, family=family, cluster="a")
    test = fit.test_clustering(n_boot=2, seed=11)
    assert test.statistic == pytest.approx(2.0 * (fit.loglik - null.loglik), abs=1e-6)
    eta = null.data.rows.X @ null._beta
    for seed, statistic in zip(np.random.SeedSequence(11).spawn(2), test.replicates, strict=True):
        y = null.response.draw(np.random.default_rng(seed), eta, None).astype(int)
        one = fitted(family, "slopes", data.assign(y=y))
        other = cg.pooled("y ~ x", data.assign(y=y), family=family)
        assert statistic == pytest.approx(2.0 * max(0.0, one.loglik - other.loglik), abs=1e-4)


def test_one_variance_has_the_mixture_of_the_boundary_and_several_have_none() -> None:
    data = drawn(NB, "slopes")
    fit: Any = cg.random_effects("y ~ x + (0 + x | a)", data, family=NB, quadrature=8)
    test = fit.test_clustering("boundary")
    assert test.statistic == pytest.approx(2.0 * (fit.loglik - cg.pooled("y ~ x", data, family=NB).loglik), abs=1e-8)
    assert test.pvalue == pytest.approx(0.5 * chi2.sf(test.statistic, 1))
    slopes = fitted(NB, "slopes", data)
    with pytest.raises(OptionError, match="no known distribution"):
        slopes.test_clustering("boundary")
    with pytest.raises(OptionError, match="method='score'"):
        slopes.test_clustering("score")
    assert slopes.test_clustering("permutation", n_boot=2, seed=1, insist=True).n_boot == 2
