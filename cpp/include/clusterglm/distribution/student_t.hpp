// Student-t random intercepts with any degrees of freedom > 0. F^-1 o Phi has no closed form: asinh of it comes as a
// table of Chebyshev coefficients, made once in Python, and is smooth even where T itself grows like exp(s^2 / (2 df)).
#pragma once
#include <cmath>
#include <utility>

#include "../location.hpp"
#include "table.hpp"

namespace clusterglm {

class StudentT {
   public:
    static constexpr bool kLogConcave = false;

    StudentT(double df, PiecewiseChebyshev table)
        : df_(df), constant_(std::lgamma(0.5 * (df + 1.0)) - std::lgamma(0.5 * df) - 0.5 * std::log(df * 3.14159265358979323846)),
          table_(std::move(table)) {}

    LogDensity log_density(double t) const {
        const double k = df_ + 1.0;
        if (std::fabs(t) > 1e70) {  // constant - (df + 1)(log|t| - log(df)/2), where t^4 would overflow
            const double u = 1.0 / t;
            return {constant_ - k * (std::log(std::fabs(t)) - 0.5 * std::log(df_)), -k * u, k * u * u, -2.0 * k * u * u * u, 0.0};
        }
        const double s = t * t, w = 1.0 / (df_ + s);
        return {constant_ - 0.5 * k * std::log1p(s / df_), -k * t * w, k * (s - df_) * w * w, -2.0 * k * t * (s - 3.0 * df_) * w * w * w,
                6.0 * k * ((s - 6.0 * df_) * s + df_ * df_) * w * w * w * w};
    }

    void quantile_of_normal(double s, double& T, double& T1) const {
        T = std::copysign(std::sinh(table_.value(table_.find(std::fabs(s)), 0)), s);
        T1 = std::exp(-0.5 * s * s - kLogRootTwoPi - log_density(T).value);
    }

   private:
    double df_, constant_;
    PiecewiseChebyshev table_;  // asinh T for s >= 0; beyond it T is held: no probability lives there
};

}  // namespace clusterglm
