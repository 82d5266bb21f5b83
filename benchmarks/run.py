"""Every measured claim, one script after the other; what the same commit has measured already is not measured again.

    python benchmarks/run.py [--all] [--again] [NAME ...]

Without `--all` the long parts are left out: simulations with thousands of data sets, and 20 million rows on disk. A
script that fails is named at the end, and the others run all the same.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

from record import HERE

SCRIPTS = (
    "accuracy",
    "startup",
    "kernels",
    "random_effects",
    "distributions",
    "random_slopes",
    "gaussian",
    "own_parameters",
    "crossed",
    "fixed_effects",
    "memory",
    "linearity",
    "study",
    "machines",
    "larger_than_memory",
    "extremes",
    "coverage",
    "coverage_slopes",
    "coverage_contrasts",
    "coverage_resampling",
    "certified_slopes",
    "posterior",
    "random_slopes_models",
    "certified",
    "selection",
    "clustering_size",
    "gradient_function",
    "smooth",
)
"""The quick ones first, so that an interrupted run has most of them."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SCRIPTS)}; all of them by default")
    parser.add_argument("--all", action="store_true", help="the long parts too")
    parser.add_argument("--again", action="store_true", help="also what this commit has measured")
    options = parser.parse_args()
    if unknown := set(options.names) - set(SCRIPTS):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(SCRIPTS)}")
    passed = [flag for flag in ("--all", "--again") if getattr(options, flag[2:])]
    failed, taken = [], {}
    for name in options.names or SCRIPTS:
        print(f"\n== {name}", flush=True)
        start = time.perf_counter()
        if subprocess.run([sys.executable, str(HERE / f"{name}.py"), *passed], check=False).returncode != 0:
            failed.append(name)
        taken[name] = time.perf_counter() - start
    print("\nminutes: " + ", ".join(f"{name} {seconds / 60:.1f}" for name, seconds in taken.items()))
    if failed:
        print(f"failed: {', '.join(failed)}")
    return len(failed) > 0


if __name__ == "__main__":
    sys.exit(main())
