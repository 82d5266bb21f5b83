"""theta -> value, score and Hessian of a log-likelihood, each a sum over clusters."""
