"""The ways to integrate random effects out, one a file."""
