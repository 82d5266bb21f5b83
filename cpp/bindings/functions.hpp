// What a kernel, everything that loops over rows, is to Python: functions, compiled in a file for each response (response_*.cpp).
#pragma once
#include <cstdint>
#include <functional>

#include "clusterglm/integrand.hpp"
#include "clusterglm/intercept_loops.hpp"
#include "clusterglm/loops.hpp"
#include "clusterglm/pooled.hpp"
#include "clusterglm/profile.hpp"

struct ResponseFunctions {
    const char* code;
    bool (*integrands)(const clusterglm::Problem&, const clusterglm::LocationMap&, const double*, const clusterglm::Selection&, const double*, int,
                       double*, int, const std::function<bool()>&);
    bool (*pooled)(const clusterglm::Problem&, const double*, int, double*, int, clusterglm::Sum&, const std::function<bool()>&);
    bool (*profile)(const clusterglm::Problem&, const double*, int, double*, const clusterglm::ProfileOutputs&, int, clusterglm::Sum&,
                    const std::function<bool()>&);
    // Loops over rows for one intercept, and for several effects: their likelihoods are those of all kernels (kernels.hpp).
    const clusterglm::InterceptLoops* intercept;
    const clusterglm::RowLoops* loops;
};

template <class R>
ResponseFunctions functions_of(const char* code) {
    return {code,
            &clusterglm::integrands<R>,
            &clusterglm::pooled<R>,
            &clusterglm::profile<R>,
            &clusterglm::intercept_loops_of<R>(),
            &clusterglm::loops_of<R>()};
}

// The same of a kernel R with parameters of its own, in which a random intercept alone has derivatives: the functions of the kernel at
// given parameters serve all else.
template <class R>
ResponseFunctions with_own(const char* code, ResponseFunctions given) {
    given.code = code, given.intercept = &clusterglm::intercept_loops_of<R>();
    return given;
}
template <class R, class B = R>
ResponseFunctions functions_with_own(const char* code) {
    return with_own<R>(code, functions_of<B>(code));
}
