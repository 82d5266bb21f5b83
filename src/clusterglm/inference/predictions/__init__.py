"""Means and probabilities: given effects, averaged over them, given a cluster's data."""
