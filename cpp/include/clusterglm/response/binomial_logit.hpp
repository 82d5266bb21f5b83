// Binomial response, logit link: kernel a*lambda - (a + b) log(1 + e^lambda).
#pragma once
#include <cmath>

#include "../lanes.hpp"
#include "row.hpp"

namespace clusterglm {

struct BinomialLogit {
    static constexpr bool kLinear = true;      // the kernel holds a*lambda, which the cluster sums once
    static constexpr int kCollapses = 0;  // a cluster needs its rows

    // Upper bound of |log factor| for lambda in [low, high].
    static double log_factor_bound(double, double high) { return (high > 0.0 ? high : 0.0) + 0.7; }

    template <bool Unit, class V>
    static CLUSTERGLM_INLINE NodeTerms<V> node(const Row<V>& row, V, V E) {
        const V w = row.e * E, t = 1.0 + w, q = 1.0 / t, p = w * q;
        if constexpr (Unit) return {V{}, q, row.a * q - row.b * p, -p * q};  // P = e^(a*lambda) * q
        const V n = row.a + row.b;
        return {-n * lanes::log(t), V{} + 1.0, row.a * q - row.b * p, -n * p * q};
    }

    // 1 / factor of a unit row: where only values are wanted, one division of the product does for all.
    template <class V>
    static CLUSTERGLM_INLINE V inverse_factor(V e) {
        return 1.0 + e;
    }

    template <class V>
    static CLUSTERGLM_INLINE RowDerivatives<V> derivatives(const Row<V>& row, V, V E) {
        const V w = row.e * E, q = 1.0 / (1.0 + w), p = w * q, n = row.a + row.b, v = n * p * q;
        return {row.a * q - row.b * p, -v, -v * (q - p), -v * (1.0 - 6.0 * p * q)};
    }

    // For linear predictors so large that e^lambda would overflow.
    static StableTerms stable(double lambda, double a, double b) {
        const double z = std::exp(-std::fabs(lambda)), tail = z / (1.0 + z), rest = 1.0 / (1.0 + z);
        const double p = lambda > 0 ? rest : tail, q = lambda > 0 ? tail : rest, n = a + b, v = n * p * q;
        const double value = -(lambda > 0 ? b * lambda : -a * lambda) - n * std::log1p(z);
        return {value, a * q - b * p, -v, -v * (q - p), -v * (1.0 - 6.0 * p * q)};
    }
};

}  // namespace clusterglm
