"""Tests of coefficients, of clustering, and between fits."""
