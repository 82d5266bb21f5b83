// The kernels of a module as a table, whose files are all compiled for one generation of processors (CMakeLists.txt). Responses' own files
// do not see it, so that none is compiled again for another.
#pragma once
#include <array>

#include "clusterglm/crossed.hpp"
#include "clusterglm/evaluate.hpp"
#include "clusterglm/nested.hpp"
#include "clusterglm/normal.hpp"
#include "clusterglm/vector.hpp"
#include "functions.hpp"

ResponseFunctions binomial_logit();
ResponseFunctions binomial_cloglog();
ResponseFunctions binomial_probit();
ResponseFunctions poisson_log();
ResponseFunctions negative_binomial();
ResponseFunctions probit_interval();
ResponseFunctions gamma_log();
ResponseFunctions truncated_poisson();
ResponseFunctions truncated_negative_binomial();
ResponseFunctions negative_binomial1();
ResponseFunctions beta_binomial();
ResponseFunctions zero_inflated_poisson();
ResponseFunctions zero_inflated_negative_binomial();

// Of one intercept per cluster: a file of its own, so that two compilers may work side by side.
decltype(&clusterglm::evaluate) marginal_likelihood();

struct Kernels {
    std::array<ResponseFunctions, 13> responses;
    decltype(&clusterglm::evaluate) marginal;
    decltype(&clusterglm::evaluate_vector) vector;
    decltype(&clusterglm::evaluate_nested) nested;
    decltype(&clusterglm::evaluate_crossed) crossed;
    bool (*conditional)(const clusterglm::Problem&, const double*, int, double*, double*, int, clusterglm::Sum&, const std::function<bool()>&);
    void (*side_by_side)(const double* const*, std::int64_t, int, double*, double*);
    decltype(&clusterglm::normal_products) normal_products;
    decltype(&clusterglm::normal_value) normal_value;
    decltype(&clusterglm::normal_slopes) normal_slopes;
};

// The kernels of this module.
const Kernels& kernels();
