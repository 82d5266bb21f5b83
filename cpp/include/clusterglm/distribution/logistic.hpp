// Standard logistic random intercepts: f = p(1 - p), F^-1 = logit.
#pragma once
#include <cmath>

#include "../location.hpp"

namespace clusterglm {

struct Logistic {
    static constexpr bool kLogConcave = true;

    LogDensity log_density(double t) const {
        const double z = std::exp(-std::fabs(t)), tanh_half = std::copysign((1.0 - z) / (1.0 + z), t);  // 2p - 1
        const double v = z / ((1.0 + z) * (1.0 + z));                                                   // p(1 - p)
        return {-std::fabs(t) - 2.0 * std::log1p(z), -tanh_half, -2.0 * v, 2.0 * v * tanh_half, 2.0 * v * (6.0 * v - 1.0)};
    }

    // T = log Phi(s) - log Phi(-s), T1 = phi/(Phi(s) Phi(-s)), from the tail that does not cancel.
    void quantile_of_normal(double s, double& T, double& T1) const {
        const double tail = 0.5 * std::erfc(std::fabs(s) * 0.70710678118654752440);
        if (tail < 1e-290) {  // |s| > 36.4: Phi(-s) = phi(s)/s (1 - 1/s^2 + 3/s^4 ...)
            const double z = std::fabs(s), mills = 1.0 / z * (1.0 - 1.0 / (z * z) * (1.0 - 3.0 / (z * z) * (1.0 - 5.0 / (z * z) * (1.0 - 7.0 / (z * z)))));
            T = std::copysign(0.5 * z * z + kLogRootTwoPi - std::log(mills), s);
            T1 = 1.0 / mills;
            return;
        }
        T = std::copysign(std::log1p(-tail) - std::log(tail), s);
        T1 = std::exp(-0.5 * s * s - kLogRootTwoPi) / (tail * (1.0 - tail));
    }
};

}  // namespace clusterglm
