"""Peak memory of a fit beyond its input, in multiples of the design matrix as float64.

python benchmarks/memory.py [--clusters 400000]
"""

from __future__ import annotations

import argparse
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


def one(clusters: int, quadrature: str, shuffled: bool) -> float:
    """Multiples of the design matrix that a fit in this process needs."""
    cg.random_effects(simulate.FORMULA, simulate.logit(100), cluster="id")  # imports
    data = simulate.logit(clusters)
    if shuffled:
        data = data.sample(frac=1.0, random_state=1).reset_index(drop=True)
    with Peak() as peak:
        cg.random_effects(simulate.FORMULA, data, cluster="id", quadrature=quadrature)
    return (peak.most - peak.start) / (len(data) * 6 * 8)


def everything(options: argparse.Namespace) -> Iterable[record.Figure]:
    """One process for each fit: a second one would use again what the first has freed."""
    for quadrature in ("8", "auto"):
        for order, words in (("sorted", ""), ("shuffled", ", rows in no order")):
            command = [sys.executable, __file__, "--fit", quadrature, order, str(options.clusters)]
            ran = [float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(3)]
            name = f"{quadrature} nodes" if quadrature == "8" else "automatic nodes"
            yield record.measured(f"{quadrature} {order}", f"{name}{words}", ran, "design matrices")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--fit"]:
        print(one(int(sys.argv[4]), sys.argv[2], sys.argv[3] == "shuffled"))
    else:
        record.run("memory", __doc__, {"everything": everything}, clusters=400_000)
