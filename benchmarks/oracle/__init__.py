"""The log-likelihood of one random intercept from its definition, to judge what the package reports.

Nothing here is shared with the package: log-probabilities (`response.py`), densities of the intercept (`intercept.py`)
and the integration (`integral.py`) are written from their definitions, in extended precision. `exact.py` computes
single integrals once more, with mpmath, from yet other formulas. `models.py` makes random models to be judged.
"""

from oracle.integral import Judged, Rows, log_integral, loglik
from oracle.intercept import INTERCEPTS, Intercept, intercept

__all__ = ["INTERCEPTS", "Intercept", "Judged", "Rows", "intercept", "log_integral", "loglik"]
