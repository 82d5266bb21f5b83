#include "clusterglm/response/zero_inflated_negative_binomial.hpp"
#include "clusterglm/response/zero_inflated_poisson.hpp"
#include "kernels.hpp"

using clusterglm::ZeroInflatedNegativeBinomial, clusterglm::ZeroInflatedPoisson;

ResponseFunctions zero_inflated_poisson() { return functions_with_own<ZeroInflatedPoisson, ZeroInflatedPoisson>("zero_inflated_poisson"); }
ResponseFunctions zero_inflated_negative_binomial() {
    return functions_with_own<ZeroInflatedNegativeBinomial, ZeroInflatedNegativeBinomial>("zero_inflated_negative_binomial");
}
