#include "clusterglm/response/probit_interval.hpp"
#include "kernels.hpp"

ResponseFunctions probit_interval() { return functions_with_own<clusterglm::ProbitInterval, clusterglm::ProbitInterval>("probit_interval"); }
