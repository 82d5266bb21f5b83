"""Counts with a linear predictor of their own for zeros."""
