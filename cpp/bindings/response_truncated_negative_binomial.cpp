#include "clusterglm/response/truncated_negative_binomial.hpp"
#include "functions.hpp"

ResponseFunctions truncated_negative_binomial() { return functions_with_own<clusterglm::TruncatedNegativeBinomial>("truncated_negative_binomial"); }
