"""The verbs: from a user's table to a result."""
