// Student-t random intercepts with any degrees of freedom > 0. F^-1 o Phi has no closed form: asinh of it comes as a
// table of Chebyshev coefficients, made once in Python, and is smooth even where T itself grows like exp(s^2 / (2 df)).
#pragma once
#include <cmath>
#include <vector>

#include "../location.hpp"

namespace clusterglm {

// asinh T on [0, pieces * width]; piece i holds `terms` Chebyshev coefficients on [i, i + 1] * width.
struct QuantileTable {
    double width = 0.0;
    int terms = 0;
    std::vector<double> coefficients;

    double operator()(double s) const {
        const int pieces = static_cast<int>(coefficients.size()) / terms;
        const double position = s / width;
        int piece = static_cast<int>(position);
        piece = piece < pieces ? piece : pieces - 1;
        double x = 2.0 * (position - piece) - 1.0;
        x = x < 1.0 ? x : 1.0;  // beyond the table T is held: no probability lives there
        const double* c = coefficients.data() + static_cast<std::size_t>(piece) * terms;
        double b1 = 0.0, b2 = 0.0;
        for (int i = terms - 1; i > 0; --i) {
            const double b = 2.0 * x * b1 - b2 + c[i];
            b2 = b1, b1 = b;
        }
        return x * b1 - b2 + c[0];
    }
};

class StudentT {
   public:
    static constexpr bool kLogConcave = false;

    StudentT(double df, QuantileTable table)
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
        T = std::copysign(std::sinh(table_(std::fabs(s))), s);
        T1 = std::exp(-0.5 * s * s - kLogRootTwoPi - log_density(T).value);
    }

   private:
    double df_, constant_;
    QuantileTable table_;
};

}  // namespace clusterglm
