#include "clusterglm/response/negative_binomial.hpp"
#include "functions.hpp"

ResponseFunctions binomial_logit();

ResponseFunctions negative_binomial() { return with_own<clusterglm::NegativeBinomial>("negative_binomial", binomial_logit()); }
