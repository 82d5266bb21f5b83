// Binomial response, complementary log-log link: kernel a log(1 - e^-x) - b x with x = e^lambda.
// Derivatives in lambda follow from q = x/(e^x - 1), q' = q(1 - x - q).
#pragma once
#include <cmath>

#include "../lanes.hpp"
#include "row.hpp"

namespace clusterglm {

struct BinomialCloglog {
    static constexpr bool kLinear = false;
    static constexpr int kCollapses = 0;

    static double log_factor_bound(double low, double) { return (low < 0.0 ? -low : 0.0) + 0.5; }

    template <bool Unit, class V>
    static CLUSTERGLM_INLINE NodeTerms<V> node(const Row<V>& row, V, V E) {
        const V x = row.e * E, survival = survival_of(x), event = lanes::one_minus_exp(x, survival);
        const V q = x * survival / event, bx = row.b * x, one = V{} + 1.0;
        const V G = row.a * q - bx, H = row.a * q * slope(x, q) - bx;
        if constexpr (Unit) return {-bx, row.a > V{} ? event : one, G, H};
        return {row.a * lanes::log(event) - bx, one, G, H};
    }

    template <class V>
    static CLUSTERGLM_INLINE RowDerivatives<V> derivatives(const Row<V>& row, V, V E) {
        const V x = row.e * E, survival = survival_of(x), event = lanes::one_minus_exp(x, survival);
        return from_x(x, x * survival / event, row.a, row.b);
    }

    static StableTerms stable(double lambda, double a, double b) {
        const double x = std::exp(lambda < 690.0 ? lambda : 690.0);
        if (x < 1e-300) return {a * lambda, a, 0.0, 0.0, 0.0};
        const double event = -std::expm1(-x), q = x > 700.0 ? 0.0 : x * std::exp(-x) / event;
        const RowDerivatives<double> d = from_x(x, q, a, b);
        return {(a > 0 ? a * std::log(event) : 0.0) - (b > 0 ? b * x : 0.0), d.G, d.H, d.I, d.K};
    }

   private:
    // exp(-x), exactly 0 where x is so large that its powers would outgrow a tiny remainder.
    template <class V>
    static CLUSTERGLM_INLINE V survival_of(V x) {
        return x < V{} + 700.0 ? lanes::exp(-x) : V{};
    }
    // 1 - x - q, by its series where it would cancel.
    template <class V>
    static CLUSTERGLM_INLINE V slope(V x, V q) {
        const V s = x * x;
        const V series = -0.5 * x - s * (1.0 / 12.0 - s * (1.0 / 720.0 - s * (1.0 / 30240.0 - s * (1.0 / 1209600.0 - s * (1.0 / 47900160.0)))));
        return x < V{} + 0.5 ? series : 1.0 - x - q;
    }
    template <class V>
    static CLUSTERGLM_INLINE RowDerivatives<V> from_x(V x, V q, V a, V b) {
        const V u = slope(x, q);  // q' = q u, u' = -x - q'
        const V q1 = q * u, u1 = -x - q1, q2 = q1 * u + q * u1, u2 = -x - q2, q3 = q2 * u + 2.0 * q1 * u1 + q * u2;
        const V bx = b > V{} ? b * x : V{};
        const V live = x < V{} + 700.0 ? a : V{};  // beyond, q is 0 and its derivatives are 0 times a large number
        return {live * q - bx, live * q1 - bx, live * q2 - bx, live * q3 - bx};
    }
};

}  // namespace clusterglm
