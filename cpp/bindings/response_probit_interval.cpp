#include "clusterglm/response/probit_interval.hpp"
#include "functions.hpp"

ResponseFunctions probit_interval() { return functions_with_own<clusterglm::ProbitInterval>("probit_interval"); }
