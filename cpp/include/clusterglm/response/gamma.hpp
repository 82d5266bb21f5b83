// Gamma responses y of mean e^lambda and shape nu: kernel -a lambda - b e^-lambda with a = w nu, b = w nu y. Their own parameter is
// log(nu), which multiplies both numbers: every derivative in it is that of lambda which has one order less, the value's the value.
#pragma once
#include <cmath>

#include "../lanes.hpp"
#include "row.hpp"

namespace clusterglm {

struct Gamma {
    static constexpr bool kLinear = false;
    static constexpr int kCollapses = -1;
    static constexpr bool kOwn = true;

    static double log_factor_bound(double, double) { return 0.0; }

    template <bool, class V>
    static CLUSTERGLM_INLINE NodeTermsWithOwn<V> node(const Row<V>& row, V m, V E) {
        const V r = row.b / (row.e * E), value = -row.a * (row.eta + m) - r, G = r - row.a;
        return {{value, V{} + 1.0, G, -r}, {value, G, value}};
    }

    template <class V>
    static CLUSTERGLM_INLINE RowDerivatives<V> derivatives(const Row<V>& row, V, V E) {
        const V r = row.b / (row.e * E);
        return {r - row.a, -r, r, -r};
    }

    template <class V>
    static CLUSTERGLM_INLINE OwnAtMode<V> own_at_mode(const Row<V>& row, V m, V E) {
        return own_of(derivatives(row, m, E));
    }

    static StableTermsWithOwn stable(double lambda, double a, double b) {
        const RowDerivatives<double> d = stable_derivatives(lambda, a, b);
        const double value = -a * lambda + d.H;
        return {{value, d.G, d.H, d.I, d.K}, {value, d.G, value}};
    }

    static OwnAtMode<double> own_at_mode_stable(double lambda, double a, double b) { return own_of(stable_derivatives(lambda, a, b)); }

   private:
    static RowDerivatives<double> stable_derivatives(double lambda, double a, double b) {
        const double r = b > 0 ? b * std::exp(-lambda < 690.0 ? -lambda : 690.0) : 0.0;  // e^690: finite, and beyond any use
        return {r - a, -r, r, -r};
    }

    template <class V>
    static CLUSTERGLM_INLINE OwnAtMode<V> own_of(const RowDerivatives<V>& d) {
        return {d.G, d.H, d.I, d.G, d.H};
    }
};

}  // namespace clusterglm
