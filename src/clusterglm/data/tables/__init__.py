"""A user's table: reading it, and its columns as numbers or categories."""
