"""How a result is shown: in pictures, and on a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clusterglm.results.above import above

if TYPE_CHECKING:
    from clusterglm.model.distribution import Distribution


class Shown:
    """A result with plots and a report."""

    @property
    def plot(self) -> Any:
        """Plots of this result, such as `fit.plot.coefficients()`: the functions of `cg.plot`, of this one."""
        return above("plot")(self)

    def report(
        self,
        path: str | Path,
        *,
        data: Any = None,
        title: str | None = None,
        n_boot: int | None = None,
        n_sim: int | None = None,
        distributions: Sequence[str | Distribution] | None = None,
        variables: Sequence[str] | None = None,
        seed: int = 1,
        n_jobs: int = 1,
        cov: str = "observed",
        df: str | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> Path:
        """Write a report of this fit: one HTML page with tables, tests, diagnostics, plots and the caveats that apply.

        Parameters
        ----------
        path : str or Path
            Of the page; it holds everything, pictures included.
        data : table, optional
            The table that was fitted. Predictions and average effects need it where covariates cannot be read off the
            design, as with I(week > 2), and for models with an offset.
        title : str, optional
        n_boot : int, optional
            Replicates of the bootstrap test of no clustering; 0 leaves it out. By default 499 up to 5,000 rows with 25
            nodes for each cluster, in proportion fewer with more of either, and none where that would be below 99: the
            same on every machine.
        n_sim : int, optional
            Simulations for diagnostics; 0 leaves them out. By default 250 up to 5,000 rows, then in proportion fewer,
            and none where that would be below 200. Residual plots use 99 of them.
        distributions : sequence of str or Distribution, optional
            Of the random intercept, to compare; empty for none. By default "gaussian", "logistic" and "cauchy" up to
            200,000 rows.
        variables : sequence of str, optional
            To predict along; by default the formula's first three.
        seed : int
            Of all that is simulated.
        n_jobs : int
            Threads of the bootstrap and of simulations.
        cov, df
            Of coefficients and tests of terms, as in `summary`.
        progress : callable, optional
            Called with the parts done and the parts wanted.

        Returns
        -------
        Path
            Of the page.

        Raises
        ------
        OptionError
            When the folder does not exist, or an argument is out of range.
        StorageError
            When the file system refuses the page.
        MissingPackageError
            Without matplotlib or jinja2.

        Notes
        -----
        A part that fails is named in the page with its error, and the others stand.
        """
        written: Path = above("report")(
            self,
            path,
            data=data,
            title=title,
            n_boot=n_boot,
            n_sim=n_sim,
            distributions=distributions,
            variables=variables,
            seed=seed,
            n_jobs=n_jobs,
            cov=cov,
            df=df,
            progress=progress,
        )
        return written
