#include "clusterglm/response/zero_inflated_poisson.hpp"
#include "functions.hpp"

ResponseFunctions zero_inflated_poisson() { return functions_with_own<clusterglm::ZeroInflatedPoisson>("zero_inflated_poisson"); }
