#include "clusterglm/response/binomial_cloglog.hpp"
#include "dispatch.hpp"

ResponseFunctions binomial_cloglog() { return functions_of<clusterglm::BinomialCloglog>("binomial_cloglog"); }
