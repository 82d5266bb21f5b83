#include "clusterglm/response/zero_inflated_negative_binomial.hpp"
#include "functions.hpp"

ResponseFunctions zero_inflated_negative_binomial() {
    return functions_with_own<clusterglm::ZeroInflatedNegativeBinomial>("zero_inflated_negative_binomial");
}
