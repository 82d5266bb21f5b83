"""Results to files and back, and nothing in a file is run."""
