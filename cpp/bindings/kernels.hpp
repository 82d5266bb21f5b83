// The kernels, everything that loops over rows, as a table of functions. A module holds one such table, whose files are all compiled
// for one generation of processors (CMakeLists.txt), each response in a file of its own (response_*.cpp).
#pragma once
#include <array>
#include <cstdint>
#include <functional>

#include "clusterglm/crossed.hpp"
#include "clusterglm/evaluate.hpp"
#include "clusterglm/integrand.hpp"
#include "clusterglm/nested.hpp"
#include "clusterglm/pooled.hpp"
#include "clusterglm/profile.hpp"
#include "clusterglm/vector.hpp"

struct ResponseFunctions {
    const char* code;
    bool (*marginal)(const clusterglm::Problem&, const clusterglm::LocationMap&, const clusterglm::Rule&, const double*, int,
                     const clusterglm::Selection&, double*, const clusterglm::PerCluster&, int, clusterglm::Sum&, const std::function<bool()>&);
    bool (*integrands)(const clusterglm::Problem&, const clusterglm::LocationMap&, const double*, const clusterglm::Selection&, const double*, int,
                       double*, int, const std::function<bool()>&);
    bool (*pooled)(const clusterglm::Problem&, const double*, int, double*, int, clusterglm::Sum&, const std::function<bool()>&);
    bool (*profile)(const clusterglm::Problem&, const double*, int, double*, const clusterglm::ProfileOutputs&, int, clusterglm::Sum&,
                    const std::function<bool()>&);
    bool (*vector)(const clusterglm::Problem&, const clusterglm::VectorModel&, const clusterglm::PointSet&, const clusterglm::VectorPlaces&, int,
                   const clusterglm::Selection&, const clusterglm::VectorOutputs&, int, clusterglm::Sum&, const std::function<bool()>&);
    bool (*nested)(const clusterglm::Problem&, const clusterglm::NestedModel&, const clusterglm::PointSet&, const clusterglm::PointSet&,
                   const clusterglm::NestedPlaces&, int, const clusterglm::Selection&, const clusterglm::NestedOutputs&, int, clusterglm::Sum&,
                   const std::function<bool()>&);
    bool (*crossed)(const clusterglm::Problem&, const clusterglm::VectorModel&, const clusterglm::PointSet*, const clusterglm::VectorPlaces&,
                    const clusterglm::Outside&, const clusterglm::CrossedInputs&, const clusterglm::Selection&, const clusterglm::CrossedOutputs&,
                    double*, int, const std::function<bool()>&);
};

template <class R>
ResponseFunctions functions_of(const char* code) {
    return {code,
            &clusterglm::evaluate<R>,
            &clusterglm::integrands<R>,
            &clusterglm::pooled<R>,
            &clusterglm::profile<R>,
            &clusterglm::evaluate_vector<R>,
            &clusterglm::evaluate_nested<R>,
            &clusterglm::evaluate_crossed<R>};
}

// The same of a kernel with parameters of its own, whose derivatives a random intercept alone has. B: the kernel at given parameters.
template <class R, class B>
ResponseFunctions functions_with_own(const char* code) {
    return {code, &clusterglm::evaluate<R>, &clusterglm::integrands<B>, &clusterglm::pooled<B>, &clusterglm::profile<B>, nullptr, nullptr, nullptr};
}

ResponseFunctions binomial_logit();
ResponseFunctions binomial_cloglog();
ResponseFunctions binomial_probit();
ResponseFunctions poisson_log();
ResponseFunctions negative_binomial();
ResponseFunctions probit_interval();
ResponseFunctions gamma_log();

struct Kernels {
    std::array<ResponseFunctions, 7> responses;
    bool (*conditional)(const clusterglm::Problem&, const double*, int, double*, double*, int, clusterglm::Sum&, const std::function<bool()>&);
    void (*side_by_side)(const double* const*, std::int64_t, int, double*, double*);
};

// The kernels of this module.
const Kernels& kernels();
