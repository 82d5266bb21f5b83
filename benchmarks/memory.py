"""Peak memory of a fit beyond its input, in multiples of the design matrix as float64.

python benchmarks/memory.py [--clusters 400000]
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import record
import simulate

import clusterglm as cg


def resident() -> int:
    """Bytes of memory this process holds (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


class Peak:
    """The largest resident size while the block runs, sampled every 2 ms."""

    def __enter__(self) -> Peak:
        self.start = self.most = resident()
        self._running = True
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while self._running:
            self.most = max(self.most, resident())
            time.sleep(0.002)

    def __exit__(self, *_: object) -> None:
        self._running = False
        self._thread.join()
        self.most = max(self.most, resident())


def table(clusters: int, kind: str) -> object:
    """The data as a frame: in order, shuffled, or with covariates in float32; or these as a dict of arrays."""
    data = simulate.logit(clusters)
    if kind == "shuffled":
        return data.sample(frac=1.0, random_state=1).reset_index(drop=True)
    if kind == "sorted":
        return data
    data = data.astype({name: "float32" for name in data if name.startswith("x")})
    return {name: data[name].to_numpy(copy=True) for name in data} if kind == "dict" else data


def one(clusters: int, quadrature: str, kind: str) -> float:
    """Multiples of the design matrix that a fit in this process needs."""
    cg.random_effects(simulate.FORMULA, table(100, kind), cluster="id")  # imports
    data = table(clusters, kind)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what has been freed would be used again, and not be seen
    with Peak() as peak:
        fit = cg.random_effects(simulate.FORMULA, data, cluster="id", quadrature=quadrature)
    return (peak.most - peak.start) / (fit.n_obs * 6 * 8)


def everything(options: argparse.Namespace) -> Iterable[record.Figure]:
    """One process for each fit: a second one would use again what the first has freed."""
    words = {
        "sorted": "",
        "shuffled": ", rows in no order",
        "float32": ", covariates in float32",
        "dict": ", the same in a dict",
    }
    for quadrature in ("8", "auto"):
        for kind in words if quadrature == "8" else ("sorted", "shuffled"):
            command = [sys.executable, __file__, "--fit", quadrature, kind, str(options.clusters)]
            ran = [float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(3)]
            name = f"{quadrature} nodes" if quadrature == "8" else "automatic nodes"
            yield record.measured(f"{quadrature} {kind}", f"{name}{words[kind]}", ran, "design matrices")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--fit"]:
        print(one(int(sys.argv[4]), sys.argv[2], sys.argv[3]))
    else:
        record.run("memory", __doc__, {"everything": everything}, clusters=400_000)
