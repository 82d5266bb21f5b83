"""From a user's table to arrays in cluster blocks."""
