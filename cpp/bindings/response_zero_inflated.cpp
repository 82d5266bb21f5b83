#include "clusterglm/response/zero_inflated_negative_binomial.hpp"
#include "clusterglm/response/zero_inflated_poisson.hpp"
#include "functions.hpp"

using clusterglm::ZeroInflatedNegativeBinomial, clusterglm::ZeroInflatedPoisson;

ResponseFunctions zero_inflated_poisson() { return functions_of_one_intercept<ZeroInflatedPoisson>("zero_inflated_poisson"); }
ResponseFunctions zero_inflated_negative_binomial() {
    return functions_of_one_intercept<ZeroInflatedNegativeBinomial>("zero_inflated_negative_binomial");
}
