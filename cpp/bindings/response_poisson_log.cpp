#include "clusterglm/response/poisson_log.hpp"
#include "functions.hpp"

ResponseFunctions poisson_log() { return functions_of<clusterglm::PoissonLog>("poisson_log"); }
