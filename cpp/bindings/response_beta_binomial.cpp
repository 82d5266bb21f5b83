#include "clusterglm/response/beta_binomial.hpp"
#include "kernels.hpp"

ResponseFunctions beta_binomial() { return functions_with_own<clusterglm::BetaBinomial, clusterglm::BetaBinomial>("beta_binomial"); }
