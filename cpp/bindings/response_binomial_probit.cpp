#include "clusterglm/response/binomial_probit.hpp"
#include "functions.hpp"

ResponseFunctions binomial_probit() { return functions_of<clusterglm::BinomialProbit>("binomial_probit"); }
