"""How certain estimates are: covariance, intervals, profiles, replicates, bias."""
