// Negative binomial responses, whose kernel is that of y successes and r failures with the logit link, at lambda with log(1/r) among
// its offset: a = w y, b = w r. Their own parameter is w = log(1/r) = log(alpha): it moves lambda by itself, and b by -b.
#pragma once
#include "binomial_logit.hpp"

namespace clusterglm {

struct NegativeBinomial : BinomialLogit {
    static constexpr bool kOwn = true;

    // dl/dw = G + b L with L = log(1 + e^lambda), and its derivatives.
    template <bool Unit, class V>
    static CLUSTERGLM_INLINE NodeTermsWithOwn<V> node(const Row<V>& row, V, V E) {
        const V w = row.e * E, t = 1.0 + w, q = 1.0 / t, p = w * q, n = row.a + row.b, L = lanes::log(t);
        const V G = row.a * q - row.b * p, H = -n * p * q;
        return {{-n * L, V{} + 1.0, G, H}, {G + row.b * L, H + row.b * p, H + row.b * (2.0 * p - L)}};
    }

    template <class V>
    static CLUSTERGLM_INLINE OwnAtMode<V> own_at_mode(const Row<V>& row, V m, V E) {
        const V w = row.e * E, q = 1.0 / (1.0 + w), p = w * q;
        return own_of(BinomialLogit::derivatives(row, m, E), row.b, p, q);
    }

    static StableTermsWithOwn stable(double lambda, double a, double b) {
        const StableTerms t = BinomialLogit::stable(lambda, a, b);
        const double z = std::exp(-std::fabs(lambda)), p = lambda > 0 ? 1.0 / (1.0 + z) : z / (1.0 + z);
        const double L = (lambda > 0 ? lambda : 0.0) + std::log1p(z);
        return {t, {t.G + b * L, t.H + b * p, t.H + b * (2.0 * p - L)}};
    }

    static OwnAtMode<double> own_at_mode_stable(double lambda, double a, double b) {
        const StableTerms t = BinomialLogit::stable(lambda, a, b);
        const double z = std::exp(-std::fabs(lambda)), tail = z / (1.0 + z), rest = 1.0 / (1.0 + z);
        return own_of(RowDerivatives<double>{t.G, t.H, t.I, t.K}, b, lambda > 0 ? rest : tail, lambda > 0 ? tail : rest);
    }

   private:
    template <class V>
    static CLUSTERGLM_INLINE OwnAtMode<V> own_of(const RowDerivatives<V>& d, V b, V p, V q) {
        const V v = b * p * q;
        return {d.H + b * p, d.I + v, d.K + v * (q - p), d.I + 2.0 * v - b * p, d.K + 2.0 * v * (q - p) - v};
    }
};

}  // namespace clusterglm
