"""What follows from an estimate: covariances, intervals, tests, residuals. Functions of arrays."""
