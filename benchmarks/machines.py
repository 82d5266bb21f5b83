"""Time of one likelihood evaluation on the workers of a Dask cluster, beside the same in this process.

python benchmarks/machines.py [--clusters 100000] [--workers 2] [--nodes 8]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable

import numpy as np
import record
import simulate

import clusterglm as cg
from clusterglm.data.prepare import prepare
from clusterglm.data.request import Request
from clusterglm.fit.streamed import sums_of_blocks
from clusterglm.fit.sums import sums_in_memory
from clusterglm.likelihood.registry import integrator_for
from clusterglm.likelihood.scalar.rules import single_rule
from clusterglm.model.distribution.gaussian import Gaussian
from clusterglm.model.family import response


def evaluations(options: argparse.Namespace) -> Iterable[record.Figure]:
    """Milliseconds, in this process and on the workers; what an empty visit of all blocks takes."""
    import dask.dataframe as dd
    from distributed import LocalCluster

    data, logit = simulate.logit(options.clusters), response("binomial", "logit")
    theta, plan = np.append(np.append(-0.3, simulate.SLOPES), 1.0), single_rule(options.nodes)
    request = Request(logit, cluster="id")
    here = sums_in_memory(prepare(simulate.FORMULA, data, request), logit, 1, 25_000)
    local = here.marginal(integrator_for(Gaussian(), "normal"))
    with LocalCluster(n_workers=options.workers, threads_per_worker=1, dashboard_address=None) as cluster:
        engine = cg.engine.Dask(cluster.get_client())
        gathered = engine.gather(simulate.FORMULA, dd.from_pandas(data, npartitions=8), request, 1)
        there = sums_of_blocks(gathered, request).marginal(integrator_for(Gaussian(), "normal"))
        seconds = record.in_turns(
            {
                "in this process, one thread": lambda: local.evaluate(theta, plan),
                f"on {options.workers} workers of one thread": lambda: there.evaluate(theta, plan),
                "messages alone": lambda: gathered.blocks.each(_nothing),
            },
            options.turns,
        )
    for name, values in seconds.items():
        words = f"{len(data):,} rows, {options.nodes} nodes: {name}"
        yield record.measured(name, words, [1e3 * value for value in values], "ms")


def _nothing(block: object) -> None:
    """A visit that does no work."""


if __name__ == "__main__":
    record.run(
        "machines",
        __doc__,
        {"evaluations": evaluations},
        packages=("dask", "distributed"),
        clusters=100_000,
        workers=2,
        nodes=8,
        turns=15,
    )
