"""From data and a model to its estimate: the optimiser, starting values, and one file for each model."""
