// What a kernel, everything that loops over rows, is to Python: functions, compiled in a file for each response (response_*.cpp).
#pragma once
#include <cstdint>
#include <functional>

#include "clusterglm/evaluate.hpp"
#include "clusterglm/integrand.hpp"
#include "clusterglm/loops.hpp"
#include "clusterglm/pooled.hpp"
#include "clusterglm/profile.hpp"

struct ResponseFunctions {
    const char* code;
    bool (*marginal)(const clusterglm::Problem&, const clusterglm::LocationMap&, const clusterglm::Rule&, const double*, int,
                     const clusterglm::Selection&, double*, const clusterglm::PerCluster&, int, clusterglm::Sum&, const std::function<bool()>&);
    bool (*integrands)(const clusterglm::Problem&, const clusterglm::LocationMap&, const double*, const clusterglm::Selection&, const double*, int,
                       double*, int, const std::function<bool()>&);
    bool (*pooled)(const clusterglm::Problem&, const double*, int, double*, int, clusterglm::Sum&, const std::function<bool()>&);
    bool (*profile)(const clusterglm::Problem&, const double*, int, double*, const clusterglm::ProfileOutputs&, int, clusterglm::Sum&,
                    const std::function<bool()>&);
    const clusterglm::RowLoops* loops;  // of several effects, whose likelihoods are those of all kernels (kernels.hpp)
    int own_numbers = 0;  // of a kernel with parameters of its own
};

template <class R>
ResponseFunctions functions_of(const char* code) {
    return {code,
            &clusterglm::evaluate<R>,
            &clusterglm::integrands<R>,
            &clusterglm::pooled<R>,
            &clusterglm::profile<R>,
            &clusterglm::loops_of<R>(),
            0};
}

// The same of a kernel R with parameters of its own, in which a random intercept alone has derivatives: the functions of the kernel at
// given parameters serve all else.
template <class R>
ResponseFunctions with_own(const char* code, ResponseFunctions given) {
    given.code = code, given.marginal = &clusterglm::evaluate<R>, given.own_numbers = clusterglm::kOwnNumbers<R>;
    return given;
}
template <class R, class B = R>
ResponseFunctions functions_with_own(const char* code) {
    return with_own<R>(code, functions_of<B>(code));
}
