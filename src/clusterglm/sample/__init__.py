"""Posterior distributions: priors, log-posteriors of marginal likelihoods, samplers, and what their draws are worth."""
