#include "clusterglm/response/binomial_logit.hpp"
#include "functions.hpp"

ResponseFunctions binomial_logit() { return functions_of<clusterglm::BinomialLogit>("binomial_logit"); }
