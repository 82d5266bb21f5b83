"""The frozen results, one file a model."""
