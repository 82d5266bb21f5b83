// Poisson response, log link: kernel a*lambda - b e^lambda. A cluster is as good as one row (see collapse.hpp).
#pragma once
#include <cmath>

#include "../lanes.hpp"
#include "row.hpp"

namespace clusterglm {

struct PoissonLog {
    static constexpr bool kLinear = true;
    static constexpr int kCollapses = 1;

    static double log_factor_bound(double, double) { return 0.0; }

    template <bool, class V>
    static CLUSTERGLM_INLINE NodeTerms<V> node(const Row<V>& row, V, V E) {
        const V mu = row.b * row.e * E;
        return {-mu, V{} + 1.0, row.a - mu, -mu};
    }

    template <class V>
    static CLUSTERGLM_INLINE RowDerivatives<V> derivatives(const Row<V>& row, V, V E) {
        const V mu = row.b * row.e * E;
        return {row.a - mu, -mu, -mu, -mu};
    }

    static StableTerms stable(double lambda, double a, double b) {
        const double mu = b > 0 ? b * std::exp(lambda < 690.0 ? lambda : 690.0) : 0.0;  // e^690: finite, and beyond any use
        return {a * lambda - mu, a - mu, -mu, -mu, -mu};
    }
};

}  // namespace clusterglm
