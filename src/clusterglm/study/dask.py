"""Workers of Dask for a study: those of a cluster that runs, or of a local one that is started for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from clusterglm.errors import StudyError

if TYPE_CHECKING:
    from distributed import Client

LOCAL = "dask"
_PATIENCE = "10s"


@contextmanager
def dask_client(scheduler: str, workers: int) -> Iterator[Client]:
    """A client of Dask.

    Parameters
    ----------
    scheduler : str
        Address of a scheduler, such as "tcp://10.0.0.5:8786"; "dask" starts a cluster on this machine.
    workers : int
        Processes of the local cluster.

    Raises
    ------
    StudyError
        When Dask is not installed, or nothing answers at the address.
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise StudyError(
            f"scheduler {scheduler!r} without the package distributed", "Dask", "pip install 'clusterglm[dask]'"
        ) from None
    if scheduler == LOCAL:
        with (
            LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None, silence_logs=50) as cluster,
            Client(cluster) as client,
        ):
            yield client
        return
    try:
        client = Client(scheduler, timeout=_PATIENCE)
    except (OSError, ValueError, TimeoutError) as error:
        raise StudyError(
            f"no Dask scheduler answers at {scheduler!r}: {error}".split("\n")[0],
            "the address of one that runs, such as tcp://127.0.0.1:8786",
            f"start one with `dask scheduler`, or use {LOCAL!r} for a cluster on this machine",
        ) from error
    with client:
        yield client
