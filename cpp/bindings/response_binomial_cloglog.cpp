#include "clusterglm/response/binomial_cloglog.hpp"
#include "functions.hpp"

ResponseFunctions binomial_cloglog() { return functions_of<clusterglm::BinomialCloglog>("binomial_cloglog"); }
