"""Members without a meaning for responses with parameters of their own, or not worked out: why, and what there is."""

from __future__ import annotations

_SUMS = (
    "the distribution of a cluster's sum of responses, which no formula gives for this family",
    'fit.plot.rootogram(of="rows") of counts, or fit.residuals("quantile")',
)
_LATENT = ("a mean of the responses", "fit.predict for probabilities of categories or times, and fit.ratios")
_INTEGRALS = (
    "factors that do not cross: where they do, the summary has the error of the integrals",
    'quadrature="auto", which estimates it',
)
_ONE = ("one intercept for each cluster", "fit.average_effects() or fit.median_odds_ratio()")

WHY: dict[str, tuple[str, str]] = {
    "chi_squared": _SUMS,
    "event_counts": _SUMS,
    "gradient_function": (
        "a test of the intercepts' distribution that estimates the response's parameters too, which is not there yet",
        "cg.nonparametric, which estimates the distribution, and cg.select_distribution",
    ),
    "hausman": (
        "the same model with an intercept for every cluster and its covariance with this one, which are not there yet",
        "means of clusters as covariates: within() and between() in the formula",
    ),
    "integration_check": _INTEGRALS,
    "integration_curve": _INTEGRALS,
    "interval_odds_ratio": _ONE,
    "marginal_coefficients": _ONE,
    "r2": (
        "a variance of the response on the scale of the linear predictor, of which several definitions are in use",
        "fit.icc, and fit.deviance beside that of a smaller model",
    ),
    "survival": ("durations", "fit.predict"),
    "to_marginaleffects": (
        "predictions that move with the response's parameters too, which are not handed over yet",
        "fit.average_effects(), fit.adjusted_means() and fit.delta_method()",
    ),
}
"""By member, of every such response: what would be needed, and what to try instead."""

OF_CATEGORIES: dict[str, tuple[str, str]] = {
    **WHY,
    "augment": ("a fitted mean", "fit.predict(), a column for each category, and fit.residuals()"),
    "calibration": _LATENT,
    "dispersion_lr_test": ("a dispersion, which categories do not have", "fit.parallel_test()"),
    "dispersion_test": ("a dispersion, which categories do not have", "fit.check()"),
    "marginal_coefficients": (
        "coefficients averaged over intercepts, which for thresholds have no closed form", "fit.average_effects()",
    ),
    "survival": ("durations", 'fit.predict(scale="cumulative")'),
    "zero_inflation_test": ("counts", "fit.predict() beside the shares of the categories"),
}  # fmt: skip

OF_DURATIONS: dict[str, tuple[str, str]] = {
    **WHY,
    "adjusted_means": ("averages of times over rows, which are not there yet", "fit.predict and fit.ratios"),
    "augment": ("residuals from a mean, where censored times have none", "fit.predict() and fit.residuals()"),
    "average_effects": ("averages of times over rows, which are not there yet", "fit.ratios(), fit.survival()"),
    "calibration": ("observed means, which censored times do not have", 'fit.residuals("cox_snell"), fit.check()'),
    "dispersion_lr_test": ("a simpler response at the end of the shape's range", "cg.compare with the exponential fit"),
    "dispersion_test": ("a variance about means, which censored times do not have", "fit.check()"),
    "influence": ("steps without single clusters, which are not there yet for times", 'fit.jackknife(kind="exact")'),
    "marginal_coefficients": ("hazards that stay proportional on average, which they do not", "fit.survival()"),
    "residual_envelope": (
        "draws of censored times: when those with an event would have been censored is not known",
        'fit.residuals("quantile") or "cox_snell", and fit.check()',
    ),
    "zero_inflation_test": ("counts", "fit.check()"),
}  # fmt: skip
