// Standard normal random intercepts: both scales are one.
#pragma once
#include "../location.hpp"

namespace clusterglm {

struct Gaussian {
    static constexpr bool kLogConcave = true;

    LogDensity log_density(double t) const { return {-0.5 * t * t - kLogRootTwoPi, -t, -1.0, 0.0, 0.0}; }
};

}  // namespace clusterglm
