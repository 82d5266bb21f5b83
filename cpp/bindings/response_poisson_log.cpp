#include "clusterglm/response/poisson_log.hpp"
#include "kernels.hpp"

ResponseFunctions poisson_log() { return functions_of<clusterglm::PoissonLog>("poisson_log"); }
