"""Responses that are measured, which have a density and closed forms in the place of kernels; one file each."""
