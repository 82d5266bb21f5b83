#include "clusterglm/response/gamma.hpp"
#include "kernels.hpp"

ResponseFunctions gamma_log() { return functions_with_own<clusterglm::Gamma, clusterglm::Gamma>("gamma"); }
