#include "clusterglm/response/truncated_poisson.hpp"
#include "kernels.hpp"

ResponseFunctions truncated_poisson() { return functions_of<clusterglm::TruncatedPoisson>("truncated_poisson"); }
