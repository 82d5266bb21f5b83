"""How the effects of a cluster covary: structures, their parameters, and the factor L of the covariance L L'.

L is lower triangular, with a block for each term. Its entries are functions of the parameters phi, whose first and
second derivatives carry those of a likelihood in L over to phi. Signs of L's columns are symmetries of the likelihood:
a parameter whose sign means nothing is turned positive by `canonical`.
"""

from clusterglm.model.covariance.whole import STRUCTURES, Covariance, CovarianceTerm

__all__ = ["STRUCTURES", "Covariance", "CovarianceTerm"]
