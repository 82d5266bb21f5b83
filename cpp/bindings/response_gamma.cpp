#include "clusterglm/response/gamma.hpp"
#include "functions.hpp"

ResponseFunctions gamma_log() { return functions_with_own<clusterglm::Gamma>("gamma"); }
