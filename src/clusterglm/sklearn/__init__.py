"""Estimators with the interface of scikit-learn, for pipelines and cross-validation.

Groups (clusters) come by metadata routing::

    import sklearn
    from sklearn.model_selection import GroupKFold, cross_validate
    from clusterglm.sklearn import RandomEffectsClassifier

    sklearn.set_config(enable_metadata_routing=True)
    model = RandomEffectsClassifier().set_fit_request(groups=True)
    cross_validate(model, X, y, params={"groups": ids}, cv=GroupKFold())

They need the extra `clusterglm[sklearn]`. `result_` holds the result of the verb with everything that it can tell.
"""

from __future__ import annotations

from clusterglm.sklearn.classifiers import (
    PooledClassifier,
    PooledOrdinalClassifier,
    RandomEffectsClassifier,
    RandomEffectsOrdinalClassifier,
)
from clusterglm.sklearn.regressors import (
    PooledContinuousRegressor,
    PooledCountRegressor,
    PooledPoissonRegressor,
    RandomEffectsContinuousRegressor,
    RandomEffectsCountRegressor,
    RandomEffectsPoissonRegressor,
)

__all__ = [
    "PooledClassifier",
    "PooledContinuousRegressor",
    "PooledCountRegressor",
    "PooledOrdinalClassifier",
    "PooledPoissonRegressor",
    "RandomEffectsClassifier",
    "RandomEffectsContinuousRegressor",
    "RandomEffectsCountRegressor",
    "RandomEffectsOrdinalClassifier",
    "RandomEffectsPoissonRegressor",
]
