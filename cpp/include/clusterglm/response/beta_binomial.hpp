// Beta-binomial responses, logit link: of y successes and f failures, with beta parameters phi p and phi q, log P is the sum of
// log Gamma(phi p + y) - log Gamma(phi p) and the same of q and f, plus a constant. Both counts are in a = y + 2^26 f, which is exact for
// whole numbers below 2^26, and b = phi. Rows have no weights, but for those that are empty (a = b = 0). The own parameter is
// w = log(1/phi): it moves the logarithms of both phi p and phi q by -1.
#pragma once
#include <cmath>

#include "rising.hpp"
#include "row.hpp"

namespace clusterglm {

struct BetaBinomial {
    template <class V>
    struct Counts {
        V y, f;
    };

    static constexpr bool kLinear = false;
    static constexpr int kCollapses = 0;
    static constexpr bool kOwn = true;

    static double log_factor_bound(double, double) { return 0.0; }
    static int rises_towards(double a, double, int) {
        const Counts<double> sums = counts(a);
        return sums.y > 0.0 && sums.f > 0.0 ? 0 : (sums.y > 0.0 ? 1 : -1);
    }

    template <bool, class V>
    static CLUSTERGLM_INLINE NodeTermsWithOwn<V> node(const Row<V>& row, V, V E) {
        const V e = row.e * E, q = 1.0 / (1.0 + e), p = e * q, v = p * q;
        const Counts<V> n = counts(row.a);
        const Rising<V> y = rising<2>(row.b * p, n.y), f = rising<2>(row.b * q, n.f);
        const V value = y.rest + f.rest + (n.y > V{} ? lanes::log(row.b * p) : V{}) + (n.f > V{} ? lanes::log(row.b * q) : V{});
        return {{value, V{} + 1.0, y.d1 * q - f.d1 * p, y.d2 * q * q + f.d2 * p * p - (y.d1 + f.d1) * v},
                {-(y.d1 + f.d1), f.d2 * p - y.d2 * q, y.d2 + f.d2}};
    }

    template <class V>
    static CLUSTERGLM_INLINE RowDerivatives<V> derivatives(const Row<V>& row, V, V E) {
        const V e = row.e * E, q = 1.0 / (1.0 + e), p = e * q;
        return of(row.a, row.b, p, q);
    }

    template <class V>
    static CLUSTERGLM_INLINE OwnAtMode<V> own_at_mode(const Row<V>& row, V, V E) {
        const V e = row.e * E, q = 1.0 / (1.0 + e), p = e * q;
        return own_of(row.a, row.b, p, q);
    }

    static StableTermsWithOwn stable(double x, double a, double b) {
        if (!(a > 0.0)) return {};
        const double z = std::exp(-std::fabs(x)), tail = z / (1.0 + z), rest = 1.0 / (1.0 + z), log_tail = -std::fabs(x) - std::log1p(z);
        const double p = x > 0 ? rest : tail, q = x > 0 ? tail : rest, log_p = x > 0 ? -std::log1p(z) : log_tail, log_q = x > 0 ? log_tail : -std::log1p(z);
        const Counts<double> n = counts(a);
        const Rising<double> y = rising<2>(b * p, n.y), f = rising<2>(b * q, n.f);
        const double log_phi = std::log(b), value = y.rest + f.rest + (n.y > 0 ? log_p + log_phi : 0.0) + (n.f > 0 ? log_q + log_phi : 0.0);
        const RowDerivatives<double> d = of(a, b, p, q);
        return {{value, d.G, d.H, d.I, d.K}, {-(y.d1 + f.d1), f.d2 * p - y.d2 * q, y.d2 + f.d2}};
    }

    static OwnAtMode<double> own_at_mode_stable(double x, double a, double b) {
        const double z = std::exp(-std::fabs(x)), tail = z / (1.0 + z), rest = 1.0 / (1.0 + z);
        return own_of(a, b, x > 0 ? rest : tail, x > 0 ? tail : rest);
    }

   private:
    // Whole numbers up to 2^52 are made of two: adding 2^52 to a / 2^26 leaves its nearest whole number.
    template <class V>
    static CLUSTERGLM_INLINE Counts<V> counts(V a) {
        constexpr double kBase = 0x1p26, kRound = 0x1p52;
        const V high = a * (1.0 / kBase), nearest = (high + kRound) - kRound, f = nearest > high ? nearest - 1.0 : nearest;
        return {a - f * kBase, f};
    }
    template <class V>
    static CLUSTERGLM_INLINE RowDerivatives<V> of(V a, V phi, V p, V q) {
        const Counts<V> n = counts(a);
        const Rising<V> y = rising<4>(phi * p, n.y), f = rising<4>(phi * q, n.f);
        // log p has the derivatives q, -v, -v (q - p) and -v (1 - 6 v)
        const V v = p * q, bent = q - p, qq = q * q, pp = p * p;
        return {y.d1 * q - f.d1 * p, y.d2 * qq + f.d2 * pp - (y.d1 + f.d1) * v,
                y.d3 * qq * q - f.d3 * pp * p - 3.0 * v * (y.d2 * q - f.d2 * p) - (y.d1 + f.d1) * v * bent,
                y.d4 * qq * qq + f.d4 * pp * pp - 6.0 * v * (y.d3 * qq + f.d3 * pp) + y.d2 * v * (3.0 * v - 4.0 * q * bent) +
                    f.d2 * v * (3.0 * v + 4.0 * p * bent) - (y.d1 + f.d1) * v * (1.0 - 6.0 * v)};
    }

    template <class V>
    static CLUSTERGLM_INLINE OwnAtMode<V> own_of(V a, V phi, V p, V q) {
        const Counts<V> n = counts(a);
        const Rising<V> y = rising<4>(phi * p, n.y), f = rising<4>(phi * q, n.f);
        const V v = p * q, qq = q * q, pp = p * p;
        return {f.d2 * p - y.d2 * q, (y.d2 + f.d2) * v - y.d3 * qq - f.d3 * pp,
                f.d4 * pp * p - y.d4 * qq * q + 3.0 * v * (y.d3 * q - f.d3 * p) + (y.d2 + f.d2) * v * (q - p), y.d3 * q - f.d3 * p,
                y.d4 * qq + f.d4 * pp - (y.d3 + f.d3) * v};
    }
};

}  // namespace clusterglm
