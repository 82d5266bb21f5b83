"""What starting costs: whole processes in turn, medians and their ratios.

python benchmarks/startup.py [--repeats 9]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

CLI = str(Path(sys.executable).with_name("clusterglm"))
COMMANDS = {
    "import clusterglm": [sys.executable, "-c", "import clusterglm"],
    "import numpy": [sys.executable, "-c", "import numpy"],
    "clusterglm fit": [CLI, "fit", "bacteria", "y ~ trt + I(week > 2)", "--cluster", "ID"],
    "import formulaic": [sys.executable, "-c", "import formulaic"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for turn in range(repeats + 1):
        for name, command in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            if turn > 0:  # the first warms the disk cache
                seconds[name].append(time.perf_counter() - start)
    for name, values in seconds.items():
        print(f"{name:20s}{statistics.median(values):7.3f} s   (min {min(values):.3f}, max {max(values):.3f})")
    for one, two, limit in (("import clusterglm", "import numpy", 1.3), ("clusterglm fit", "import formulaic", 1.3)):
        ratio = statistics.median(seconds[one]) / statistics.median(seconds[two])
        print(f"{one} / {two}: {ratio:.2f} (at most {limit})")


if __name__ == "__main__":
    main()
