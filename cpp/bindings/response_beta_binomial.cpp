#include "clusterglm/response/beta_binomial.hpp"
#include "functions.hpp"

ResponseFunctions beta_binomial() { return functions_with_own<clusterglm::BetaBinomial>("beta_binomial"); }
