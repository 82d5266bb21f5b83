#include "clusterglm/response/negative_binomial1.hpp"
#include "functions.hpp"

ResponseFunctions negative_binomial1() { return functions_with_own<clusterglm::NegativeBinomial1>("negative_binomial1"); }
