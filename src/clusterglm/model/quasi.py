"""Penalised quasi-likelihood: which of its two forms is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class QuasiLikelihood:
    """A form of penalised quasi-likelihood.

    Parameters
    ----------
    name : str
        As `quadrature=` has it.
    reml : bool
        Whether the covariance maximises the restricted likelihood of the working model.
    known_sd : float or None
        Residual standard deviation of the working model, the root of the responses' dispersion; None: estimated.
    words : str
    """

    name: str
    reml: bool
    known_sd: float | None
    words: str


QUASI = {
    form.name: form
    for form in (
        QuasiLikelihood("pql", True, 1.0, "working models by REML, dispersion 1 (Breslow and Clayton)"),
        QuasiLikelihood("pql-ml", False, None, "working models by maximum likelihood, dispersion estimated (glmmPQL)"),
    )
}


def read_quasi(quadrature: Any) -> QuasiLikelihood | None:
    """The form that the argument `quadrature=` names; None where it asks for integrals."""
    return QUASI.get(quadrature) if isinstance(quadrature, str) else None
