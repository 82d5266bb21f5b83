"""Data that are not in memory: files in parts, and blocks of clusters on disk."""
