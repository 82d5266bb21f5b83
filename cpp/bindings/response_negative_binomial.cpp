#include "clusterglm/response/negative_binomial.hpp"
#include "kernels.hpp"

ResponseFunctions negative_binomial() { return functions_with_own<clusterglm::NegativeBinomial, clusterglm::BinomialLogit>("negative_binomial"); }
