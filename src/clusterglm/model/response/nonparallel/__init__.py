"""Ordered categories some of whose covariates have a coefficient for each threshold."""
