"""Simulation studies: a design, replicates with seeds of their own; resumable, the same for any number of workers."""

from clusterglm.study.design import Study, attempt
from clusterglm.study.runner import Finished, Progress, run_study

__all__ = ["Finished", "Progress", "Study", "attempt", "run_study"]
