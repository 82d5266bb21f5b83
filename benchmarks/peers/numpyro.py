"""NumPyro: the No-U-Turn sampler over coefficients, covariance and every cluster's effects."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Sampled:
    """Draws of coefficients and standard deviations, shape (chains, draws, parameters), and CPU seconds.

    `warming` are the seconds of compiling and warming up, `drawing` those of the draws.
    """

    names: tuple[str, ...]
    values: np.ndarray
    warming: float
    drawing: float


def logit(
    data: pd.DataFrame, slopes: bool, warmup: int = 500, draws: int = 1000, chains: int = 1
) -> Callable[[], Sampled]:
    """A random-intercept logit of `y` in `x` and `z`, or one with a correlated slope of `x`, in its own idiom.

    Effects are scaled standard normals ("not centred"), priors weakly informative: Student's t with 3 degrees of
    freedom and scale 2.5 for coefficients and standard deviations, an LKJ prior for the correlation.
    """
    import jax
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as dist
    from numpyro.infer import MCMC, NUTS

    numpyro.set_host_device_count(1)
    jax.config.update("jax_enable_x64", True)
    id_ = jnp.asarray(data["id"].to_numpy())
    x, z, y = (jnp.asarray(data[name].to_numpy(dtype=np.float64)) for name in ("x", "z", "y"))
    clusters, effects = int(data["id"].nunique()), 2 if slopes else 1

    def model() -> None:
        beta = numpyro.sample("beta", dist.StudentT(3.0, 0.0, 2.5).expand([3]))
        sd = numpyro.sample("sd", dist.HalfNormal(2.5).expand([effects]))
        u = numpyro.sample("u", dist.Normal().expand([clusters, effects]))
        if slopes:
            factor = numpyro.sample("factor", dist.LKJCholesky(2, 1.0))
            u = u @ factor.T
        b = u * sd
        eta = beta[0] + beta[1] * x + beta[2] * z + b[id_, 0]
        if slopes:
            eta = eta + b[id_, 1] * x
        numpyro.sample("y", dist.Bernoulli(logits=eta), obs=y)

    def call() -> Sampled:
        sampler = MCMC(NUTS(model), num_warmup=warmup, num_samples=draws, num_chains=chains, progress_bar=False)
        started = time.process_time()
        sampler.warmup(jax.random.PRNGKey(1), collect_warmup=False)
        warmed = time.process_time()
        sampler.run(sampler.post_warmup_state.rng_key)
        found = {name: np.asarray(each) for name, each in sampler.get_samples(group_by_chain=True).items()}
        ended = time.process_time()
        values = np.concatenate([found["beta"], found["sd"]], axis=2)
        names = ("(Intercept)", "x", "z", *(f"sd{k + 1}" for k in range(effects)))
        return Sampled(names, values, warmed - started, ended - warmed)

    return call
