"""Whether the assumed distribution of intercepts agrees with the data."""
