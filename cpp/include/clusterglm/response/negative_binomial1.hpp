// Negative binomial counts whose size is proportional to the mean: with s = e^x the size, a the count and b = log(1 + alpha),
// log P = log Gamma(s + a) - log Gamma(s) - b s + a constant, and log(alpha) is subtracted from the linear predictor x. Rows have no
// weights, but for those that are empty (a = b = 0). The own parameter is w = log(alpha): it moves x by -1, and b by alpha / (1 + alpha).
//
// A row is concave in s, and so is a cluster in e^intercept: it has one summit; its logarithm need not be concave in the intercept.
#pragma once
#include <cmath>

#include "rising.hpp"
#include "row.hpp"

namespace clusterglm {

struct NegativeBinomial1 {
    static constexpr bool kLinear = false;
    static constexpr int kCollapses = 0;
    static constexpr bool kOwn = true;

    static double log_factor_bound(double, double) { return 0.0; }
    static int rises_towards(double a, double, int) { return a > 0.0 ? 0 : -1; }

    template <bool, class V>
    static CLUSTERGLM_INLINE NodeTermsWithOwn<V> node(const Row<V>& row, V m, V E) {
        const V s = row.e * E, c = s * row.b;
        const Rising<V> d = rising<2>(s, row.a);
        const Own<V> own = own_of(s, row.b);
        return {{(row.a > V{} ? row.eta + m + d.rest : V{}) - c, V{} + 1.0, d.d1 - c, d.d2 - c}, {-d.d1 - own.w, -d.d2 - own.w, d.d2 - own.ww}};
    }

    template <class V>
    static CLUSTERGLM_INLINE RowDerivatives<V> derivatives(const Row<V>& row, V, V E) {
        const V s = row.e * E, c = s * row.b;
        const Rising<V> d = rising<4>(s, row.a);
        return {d.d1 - c, d.d2 - c, d.d3 - c, d.d4 - c};
    }

    template <class V>
    static CLUSTERGLM_INLINE OwnAtMode<V> own_at_mode(const Row<V>& row, V, V E) {
        const V s = row.e * E;
        const Rising<V> d = rising<4>(s, row.a);
        const Own<V> own = own_of(s, row.b);
        return {-d.d2 - own.w, -d.d3 - own.w, -d.d4 - own.w, d.d3 - own.ww, d.d4 - own.ww};
    }

    static StableTermsWithOwn stable(double x, double a, double b) {
        const double s = size_of(x), c = b > 0.0 ? s * b : 0.0;
        const Rising<double> d = rising<4>(s, a);
        const Own<double> own = own_of(s, b);
        return {{(a > 0.0 ? x + d.rest : 0.0) - c, d.d1 - c, d.d2 - c, d.d3 - c, d.d4 - c}, {-d.d1 - own.w, -d.d2 - own.w, d.d2 - own.ww}};
    }

    static OwnAtMode<double> own_at_mode_stable(double x, double a, double b) {
        return own_at_mode(Row<double>{x, size_of(x), a, b}, 0.0, 1.0);
    }

   private:
    static double size_of(double x) { return std::exp(x < 100.0 ? (x > -700.0 ? x : -700.0) : (x < 600.0 ? x : 600.0)); }

    // Derivatives of b s in w, with s' = -s and b' = 1 - e^-b: once and twice. For small b by series.
    template <class V>
    struct Own {
        V w, ww;
    };
    template <class V>
    static CLUSTERGLM_INLINE Own<V> own_of(V s, V b) {
        const V survival = lanes::exp(-b), first = lanes::one_minus_exp(b, survival), second = survival * first;
        return {s * (first - b), s * (second - 2.0 * first + b)};
    }
};

}  // namespace clusterglm
