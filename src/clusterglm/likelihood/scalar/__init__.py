"""The integrator of one random intercept per cluster: quadrature in one dimension, by a rule of its own for each."""
