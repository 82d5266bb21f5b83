"""Time of one likelihood evaluation on the workers of a Dask cluster, beside the same in this process.

python benchmarks/machines.py [--clusters 100000] [--workers 2] [--nodes 8]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import simulate

import clusterglm as cg
from clusterglm.data.prepare import prepare
from clusterglm.data.rows import Request
from clusterglm.fit.streamed import sums_of_blocks
from clusterglm.fit.sums import sums_in_memory
from clusterglm.likelihood.rules import single_rule
from clusterglm.model.distribution.gaussian import Gaussian
from clusterglm.model.family import response


def main() -> None:
    import dask.dataframe as dd
    from distributed import LocalCluster

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clusters", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--nodes", type=int, default=8)
    options = parser.parse_args()
    data, logit = simulate.logit(options.clusters), response("binomial", "logit")
    theta, plan = np.append(np.append(-0.3, simulate.SLOPES), 1.0), single_rule(options.nodes)
    here = sums_in_memory(prepare(simulate.FORMULA, data, cluster="id", family_response=logit), logit, 1, 25_000)
    local = here.marginal(Gaussian(), "normal")
    alone = _least(lambda: local.evaluate(theta, plan))
    with LocalCluster(n_workers=options.workers, threads_per_worker=1, dashboard_address=None) as cluster:
        engine, request = cg.engine.Dask(cluster.get_client()), Request(logit, "id")
        gathered = engine.gather(simulate.FORMULA, dd.from_pandas(data, npartitions=8), request, 1)
        there = sums_of_blocks(gathered, request).marginal(Gaussian(), "normal")
        spread = _least(lambda: there.evaluate(theta, plan))
        message = _least(lambda: gathered.blocks.each(_nothing))
    print(f"{len(data):,} rows, {options.nodes} nodes: {1e3 * alone:.1f} ms in this process, one thread")
    print(f"{1e3 * spread:.1f} ms on {options.workers} workers of one thread; {1e3 * message:.1f} ms of it messages")


def _nothing(block: object) -> None:
    """A visit that does no work."""


def _least(work: Callable[[], object], times: int = 15) -> float:
    taken = []
    for _ in range(times):
        begin = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begin)
    return min(taken)


if __name__ == "__main__":
    main()
