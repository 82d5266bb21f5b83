// Zero-inflated Poisson counts. A positive count: a = weight * count > 0 and b = weight, a Poisson row. A zero: a = -weight, and b is
// the row's own w (zero_inflated.hpp).
#pragma once
#include "poisson_log.hpp"
#include "zero_inflated.hpp"

namespace clusterglm {

struct ZeroInflatedPoisson {
    static constexpr bool kLinear = false;
    static constexpr int kCollapses = 0;
    static constexpr bool kSeveralModes = true;
    static constexpr int kOwn = 1;

    static double log_factor_bound(double, double) { return 0.0; }

    template <bool, class V>
    static CLUSTERGLM_INLINE NodeTermsWithOwn<V> node(const Row<V>& row, V m, V E) {
        const V zero{}, one = zero + 1.0, mu = capped(row.e * E), scaled = row.b * mu;
        const auto is_zero = row.a < zero;
        const V weight = is_zero ? -row.a : zero;
        const zeros::Zero<V> f(is_zero ? row.b : zero, mu);
        const zeros::Rate<V> r{mu, mu, mu, mu, mu};
        return {{is_zero ? weight * f.value : row.a * (row.eta + m) - scaled, one, is_zero ? weight * first(f, r) : row.a - scaled,
                 is_zero ? weight * second(f, r) : -scaled},
                {{weight * (1.0 + f.F1)}, {weight * f.F2 * mu}, {weight * f.F2}}};
    }

    template <class V>
    static CLUSTERGLM_INLINE RowDerivatives<V> derivatives(const Row<V>& row, V, V E) {
        const V zero{}, mu = capped(row.e * E), scaled = row.b * mu;
        const auto is_zero = row.a < zero;
        const V weight = is_zero ? -row.a : zero;
        const RowDerivatives<V> d = in_lambda(zeros::Zero<V>(is_zero ? row.b : zero, mu), zeros::Rate<V>{mu, mu, mu, mu, mu});
        return {is_zero ? weight * d.G : row.a - scaled, is_zero ? weight * d.H : -scaled, is_zero ? weight * d.I : -scaled,
                is_zero ? weight * d.K : -scaled};
    }

    template <class V>
    static CLUSTERGLM_INLINE OwnAtMode<V> own_at_mode(const Row<V>& row, V, V E) {
        const V zero{}, mu = capped(row.e * E);
        const auto is_zero = row.a < zero;
        const V w = is_zero ? -row.a : zero;
        const OwnAtMode<V> d = in_w(zeros::Zero<V>(is_zero ? row.b : zero, mu), zeros::Rate<V>{mu, mu, mu, mu, mu});
        return {{w * d.Gg[0]}, {w * d.Hg[0]}, {w * d.Ig[0]}, {w * d.Ggg[0]}, {w * d.Hgg[0]}};
    }

    static StableTermsWithOwn stable(double lambda, double a, double b) {
        if (!(a < 0.0)) return {PoissonLog::stable(lambda, a, b), {{0.0}, {0.0}, {0.0}}};
        const Row<double> row{0.0, std::exp(lambda < kFar ? lambda : kFar), a, b};
        const NodeTermsWithOwn<double> t = node<false>(row, 0.0, 1.0);
        const RowDerivatives<double> d = derivatives(row, 0.0, 1.0);
        return {{t.additive, d.G, d.H, d.I, d.K}, t.own};
    }

    static OwnAtMode<double> own_at_mode_stable(double lambda, double a, double b) {
        return own_at_mode(Row<double>{0.0, std::exp(lambda < kFar ? lambda : kFar), a, b}, 0.0, 1.0);
    }

   private:
    static constexpr double kFar = 690.0;
    // Of a zero, whose share in e^-m is long 0 there: its fourth power is still a number.
    template <class V>
    static CLUSTERGLM_INLINE V capped(V mu) {
        const V top = V{} + 1e70;
        return mu > top ? top : mu;
    }
};

}  // namespace clusterglm
