#include "clusterglm/response/truncated_poisson.hpp"
#include "functions.hpp"

ResponseFunctions truncated_poisson() { return functions_of<clusterglm::TruncatedPoisson>("truncated_poisson"); }
