#include "kernels.hpp"

#include "clusterglm/columns.hpp"
#include "clusterglm/conditional.hpp"

const Kernels& kernels() {
    static const Kernels table{{binomial_logit(), binomial_cloglog(), binomial_probit(), poisson_log(), negative_binomial(), probit_interval(),
                                gamma_log(), truncated_poisson(), truncated_negative_binomial(), negative_binomial1(), beta_binomial(),
                                zero_inflated_poisson(), zero_inflated_negative_binomial()},
                               marginal_likelihood(),
                               &clusterglm::evaluate_vector,
                               &clusterglm::evaluate_nested,
                               &clusterglm::evaluate_crossed,
                               &clusterglm::conditional,
                               &clusterglm::side_by_side,
                               &clusterglm::normal_products,
                               &clusterglm::normal_value,
                               &clusterglm::normal_slopes};
    return table;
}
