// Poisson counts from 1 on, log link: kernel a lambda - b log(e^x - 1) with x = e^lambda, for a = weight * count and b = weight.
// Derivatives in lambda follow from q = x / (e^x - 1) and u = 1 - x - q, as for the complementary log-log link: log(e^x - 1) is
// lambda + log((e^x - 1) / x), whose last part has the derivative -u.
#pragma once
#include <cmath>

#include "../lanes.hpp"
#include "row.hpp"

namespace clusterglm {

struct TruncatedPoisson {
    static constexpr bool kLinear = true;
    static constexpr int kCollapses = 0;

    static double log_factor_bound(double, double) { return 0.0; }
    static int rises_towards(double a, double b, int) { return a > b ? 0 : -1; }  // downwards where every count is 1

    template <bool, class V>
    static CLUSTERGLM_INLINE NodeTerms<V> node(const Row<V>& row, V, V E) {
        const V x = row.e * E, survival = survival_of(x), event = lanes::one_minus_exp(x, survival);
        const V q = x * survival / event, u = slope(x, q);
        return {-row.b * (x + lanes::log(event)), V{} + 1.0, row.a - row.b + row.b * u, -row.b * (x + q * u)};
    }

    template <class V>
    static CLUSTERGLM_INLINE RowDerivatives<V> derivatives(const Row<V>& row, V, V E) {
        const V x = row.e * E, survival = survival_of(x), event = lanes::one_minus_exp(x, survival);
        return from_x(x, x * survival / event, row.a, row.b);
    }

    static StableTerms stable(double lambda, double a, double b) {
        const double x = std::exp(lambda < 690.0 ? lambda : 690.0);  // e^690: finite, and beyond any use
        if (x < 1e-300) return {(a - b) * lambda, a - b, 0.0, 0.0, 0.0};
        const double event = -std::expm1(-x), q = x > 700.0 ? 0.0 : x * std::exp(-x) / event;
        const RowDerivatives<double> d = from_x(x, q, a, b);
        return {a * lambda - (b > 0 ? b * (x + std::log(event)) : 0.0), d.G, d.H, d.I, d.K};
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
        const V live = x < V{} + 700.0 ? V{} + 1.0 : V{};  // beyond, q is 0 and its derivatives are 0 times a large number
        const V q1 = q * u, u1 = -x - q1, q2 = live * (q1 * u + q * u1), u2 = -x - q2, q3 = live * (q2 * u + 2.0 * q1 * u1 + q * u2);
        const V some = b > V{} ? V{} + 1.0 : V{}, weighted = b * (some * x);
        return {a - b + b * (some * u), -weighted - b * q1, -weighted - b * q2, -weighted - b * q3};
    }
};

}  // namespace clusterglm
