#include "clusterglm/response/binomial_cloglog.hpp"
#include "kernels.hpp"

ResponseFunctions binomial_cloglog() { return functions_of<clusterglm::BinomialCloglog>("binomial_cloglog"); }
