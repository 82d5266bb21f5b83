"""Peak memory of a fit beyond its input, in multiples of the design matrix as float64.

python benchmarks/memory.py [--clusters 400000] [--shuffled]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
import time
from pathlib import Path

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clusters", type=int, default=400_000)
    parser.add_argument("--shuffled", action="store_true", help="rows in no order")
    parser.add_argument("--quadrature", help="one fit in this process; without, one process for each")
    options = parser.parse_args()
    if options.quadrature is None:  # a second fit would use again what the first has freed
        for quadrature in ("8", "auto"):
            subprocess.run([sys.executable, *sys.argv, "--quadrature", quadrature], check=True)
        return
    cg.random_effects(simulate.FORMULA, simulate.logit(100), cluster="id")  # imports
    data = simulate.logit(options.clusters)
    if options.shuffled:
        data = data.sample(frac=1.0, random_state=1).reset_index(drop=True)
    design = len(data) * 6 * 8
    with Peak() as peak:
        cg.random_effects(simulate.FORMULA, data, cluster="id", quadrature=options.quadrature)
    ratio = (peak.most - peak.start) / design
    print(f"quadrature {options.quadrature}: {ratio:.2f} times the design matrix of {design / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
