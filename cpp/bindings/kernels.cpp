#include "kernels.hpp"

#include "clusterglm/columns.hpp"
#include "clusterglm/conditional.hpp"

const Kernels& kernels() {
    static const Kernels table{{binomial_logit(), binomial_cloglog(), binomial_probit(), poisson_log(), negative_binomial(), probit_interval(),
                                gamma_log()},
                               &clusterglm::conditional,
                               &clusterglm::side_by_side};
    return table;
}
