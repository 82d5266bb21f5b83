"""The public face: names, arguments, warnings, what is imported when."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest

import clusterglm as cg


def imported_after(code: str, *modules: str) -> set[str]:
    """Which of the modules a fresh Python has imported after running the code."""
    tail = f"\nimport sys\nprint(*[m for m in {modules!r} if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code + tail], capture_output=True, text=True, check=True)
    return set(ran.stdout.split())


def test_import_is_light() -> None:
    heavy = ("numpy", "scipy", "pandas", "narwhals", "formulaic", "typer", "rich", "clusterglm._core")
    assert imported_after("import clusterglm", *heavy) == set()


def test_a_fit_needs_no_statistics_or_optimiser_package() -> None:
    code = (
        "import clusterglm as cg\n"
        "fit = cg.random_effects('y ~ trt', cg.datasets.load('bacteria'), cluster='ID')\nstr(fit)"
    )
    heavy = ("scipy.stats", "scipy.optimize", "typer", "rich", "matplotlib", "polars", "statsmodels")
    assert imported_after(code, *heavy) == set()


def test_public_names() -> None:
    assert set(cg.__all__) <= set(dir(cg))
    for name in cg.__all__:
        assert getattr(cg, name) is not None
    assert cg.StudentT(4).name == "student_t(4)"
    assert cg.__version__[0].isdigit()
    assert issubclass(cg.errors.OptionError, ValueError)
    with pytest.raises(AttributeError, match="glmmML"):
        cg.glmmML  # noqa: B018


@pytest.mark.parametrize(
    ("argument", "value", "listed"),
    [
        ("family", "tweedie", "'binomial', 'poisson'"),
        ("link", "log", "'logit', 'cloglog', 'probit'"),
        ("distribution", "norm", "'gaussian', 'logistic', 'cauchy'"),
        ("quadrature", 0, "1 to 100"),
        ("quadrature", "ghq", "'laplace', 'auto'"),
        ("scale", "prior", "'normal', 'density'"),
        ("control", {"max_iter": 3}, "Control"),
        ("sigma", -1.0, "not negative"),
        ("start", [1.0], "(Intercept), late"),
        ("start", "zero", "numbers"),
        ("start", {"(Intercept)": 1.0, "lat": 0.0}, "did you mean 'late'"),
    ],
)
def test_bad_option(golden_frame: Any, argument: str, value: object, listed: str) -> None:
    with pytest.raises(cg.errors.OptionError) as caught:
        cg.random_effects("yy ~ late", golden_frame("bacteria"), cluster="ID", **{argument: value})  # type: ignore[arg-type]
    assert listed in str(caught.value)
    assert caught.value.advice


def test_fix_sigma_needs_sigma(golden_frame: Any) -> None:
    with pytest.raises(cg.errors.OptionError, match="value at which to hold sigma"):
        cg.random_effects("yy ~ late", golden_frame("bacteria"), cluster="ID", fix_sigma=True)


def test_start_by_name_in_any_order(golden_frame: Any) -> None:
    data = golden_frame("bacteria")
    fit = cg.random_effects("yy ~ trt + late", data, cluster="ID")
    for start in (fit.params, fit.params[::-1], dict(fit.params[::-1]), fit.params.to_numpy()):
        again = cg.random_effects("yy ~ trt + late", data, cluster="ID", start=start, sigma=fit.sigma)
        assert again.loglik == pytest.approx(fit.loglik, abs=1e-9)
        assert again.optimization.iterations <= 2


def test_start_values_move_the_start_but_not_the_end(golden_frame: Any) -> None:
    data = golden_frame("bacteria")
    near = cg.random_effects("yy ~ late", data, cluster="ID")
    far = cg.random_effects("yy ~ late", data, cluster="ID", start=[-1.0, 1.0], sigma=3.0)
    assert far.optimization.trace[0].loglik < near.optimization.trace[0].loglik - 10
    np.testing.assert_allclose(far.params, near.params, rtol=1e-6)
    assert far.sigma == pytest.approx(near.sigma, rel=1e-6)


@pytest.mark.parametrize("verb", [cg.pooled, cg.random_effects])
def test_stopping_early_warns_and_says_so(golden_frame: Any, verb: Any) -> None:
    with pytest.warns(cg.errors.ConvergenceWarning, match="iteration limit") as heard:
        fit = verb("yy ~ trt", golden_frame("bacteria"), cluster="ID", control=cg.Control(max_iter=1))
    assert heard[0].filename == __file__
    assert not fit.converged
    assert "before converging" in str(fit)


def test_progress_sees_every_iteration_and_can_stop(golden_frame: Any) -> None:
    seen: list[int] = []
    data = golden_frame("bacteria")
    cg.random_effects("yy ~ trt", data, cluster="ID", control=cg.Control(progress=lambda it: seen.append(it.iteration)))
    assert len(seen) >= 3
    with pytest.warns(cg.errors.ConvergenceWarning, match="progress"):
        fit = cg.random_effects("yy ~ trt", data, cluster="ID", control=cg.Control(progress=lambda _: False))
    assert fit.optimization.status == "interrupted"


def test_an_interrupt_passes_through(golden_frame: Any) -> None:
    def stop(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cg.random_effects("yy ~ trt", golden_frame("bacteria"), cluster="ID", control=cg.Control(progress=stop))


def test_models_nest() -> None:
    """The pooled model is the random-intercept model with sigma held at zero."""
    data = cg.datasets.load("bacteria")
    zero = cg.random_effects("y ~ trt", data, cluster="ID", sigma=0.0, fix_sigma=True)
    pooled = cg.pooled("y ~ trt", data, cluster="ID")
    pd.testing.assert_series_equal(zero.params, pooled.params)
    assert zero.loglik == pytest.approx(pooled.loglik)
    assert zero.aic == pytest.approx(pooled.aic)
    assert "held fixed" in str(zero)
