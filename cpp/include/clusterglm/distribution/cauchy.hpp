// Standard Cauchy random intercepts: f = 1/(pi(1 + t^2)), F^-1(p) = -cot(pi p).
#pragma once
#include <cmath>

#include "../location.hpp"

namespace clusterglm {

struct Cauchy {
    static constexpr bool kLogConcave = false;

    LogDensity log_density(double t) const {
        constexpr double kLogPi = 1.14472988584940017414;
        if (std::fabs(t) > 1e70) {  // -log pi - 2 log|t|, where t^4 would overflow
            const double u = 1.0 / t;
            return {-kLogPi - 2.0 * std::log(std::fabs(t)), -2.0 * u, 2.0 * u * u, -4.0 * u * u * u, 0.0};
        }
        const double s = t * t, w = 1.0 / (1.0 + s);
        return {-kLogPi - std::log1p(s), -2.0 * t * w, 2.0 * (s - 1.0) * w * w, -4.0 * t * (s - 3.0) * w * w * w,
                12.0 * ((s - 6.0) * s + 1.0) * w * w * w * w};
    }

    void quantile_of_normal(double s, double& T, double& T1) const {
        constexpr double kPi = 3.14159265358979323846, kFar = 36.0;  // beyond, T is held where it is about 1e283
        const double z = std::fabs(s) < kFar ? std::fabs(s) : kFar;
        const double tail = 0.5 * std::erfc(z * 0.70710678118654752440);
        const double t = tail < 0.25 ? 1.0 / std::tan(kPi * tail) : std::tan(kPi * (0.5 * std::erf(z * 0.70710678118654752440)));
        const double root_density = std::exp(-0.25 * z * z);  // phi (1 + t^2) without overflow of t^2
        T = std::copysign(t, s);
        T1 = kPi * 0.39894228040143267794 * (root_density * root_density + (root_density * t) * (root_density * t));
    }
};

}  // namespace clusterglm
