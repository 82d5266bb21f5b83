"""Effects in the units people report."""
