"""The part of the linear predictor that new data determine, and whose clusters they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clusterglm.data.clusters import encode
from clusterglm.data.prepare import ModelData
from clusterglm.data.table import read_table
from clusterglm.errors import ClusterError, OptionError, UnseenLevelError, nearest
from clusterglm.model.arrays import Array

if TYPE_CHECKING:
    import narwhals.stable.v2 as nw
    import pandas as pd

_SHOWN = 5  # labels that an error names


def known_part(data: ModelData, beta: Array, table: Any) -> tuple[pd.Series[float], nw.DataFrame[Any]]:
    """X beta + offset of new data, and the data as a frame.

    Parameters
    ----------
    data : ModelData
        What was fitted.
    beta : ndarray, shape (p,)
    table : table
        The new data, in any form that a fit takes.

    Returns
    -------
    known : Series
        Index `row`: position in the table; NaN where a covariate or an offset is missing.
    frame : narwhals DataFrame
    """
    import pandas as pd

    frame = read_table(table)
    eta = data.design.build(frame) @ beta + data.design.offset(frame)
    return pd.Series(eta, index=pd.RangeIndex(len(eta), name="row")), frame


def cluster_codes(data: ModelData, frame: nw.DataFrame[Any]) -> NDArray[np.int64]:
    """Number of the fitted cluster that each row of new data belongs to, shape (rows,).

    Raises
    ------
    ClusterError
        When there is no cluster column, or it has missing values.
    UnseenLevelError
        When a label is not one of the fitted clusters'.
    """
    import pandas as pd

    name = data.cluster_name
    if name is None or name not in frame.columns:
        hint = nearest(name or "", frame.columns)
        raise ClusterError(
            f"new data without the cluster column {name!r}",
            'each row\'s cluster, for intercepts="conditional"',
            f"{hint}add the column, or pass a number as intercepts=",
        )
    new = encode(frame.get_column(name))
    missing = int(np.count_nonzero(new.codes < 0))
    if missing > 0:
        raise ClusterError(
            f"{missing} missing values in the cluster column {name!r} of the new data",
            "the label of a fitted cluster in each row",
            "drop these rows, or pass a number as intercepts=",
        )
    fitted = np.asarray(pd.Index(data.labels).get_indexer(pd.Index(new.labels)), dtype=np.int64)
    unseen = [str(label) for label in new.labels[fitted < 0]]
    if unseen:
        shown = ", ".join(unseen[:_SHOWN]) + (f" and {len(unseen) - _SHOWN} more" if len(unseen) > _SHOWN else "")
        raise UnseenLevelError(
            f"clusters in {name!r} that the fit has not seen: {shown}",
            f"labels of the {data.n_clusters} fitted clusters",
            "drop these rows, or pass a number as intercepts=",
        )
    return fitted[new.codes]


def one_per_row(intercepts: ArrayLike, rows: int, named: Sequence[str]) -> Array:
    """A number or one for each row.

    Raises
    ------
    OptionError
        When it is something else; `named` are the words that would also have done, the default first.
    """
    try:
        values = np.asarray(intercepts, dtype=np.float64)
    except (TypeError, ValueError):
        values = np.empty((0, 0))
    if values.shape not in ((), (rows,)) or np.isnan(values).any():
        got = f" of shape {values.shape}" if values.ndim > 0 and values.size > 0 else f"={intercepts!r}"
        raise OptionError(
            f"intercepts{got}",
            f"{', '.join(repr(name) for name in named)}, a number, or one for each of the {rows} rows",
            f"intercepts={named[0]!r}, the default",
        )
    return values
