#include "clusterglm/response/binomial_logit.hpp"
#include "dispatch.hpp"

ResponseFunctions binomial_logit() { return functions_of<clusterglm::BinomialLogit>("binomial_logit"); }
