// A standard normal variable in an interval: log P = a log(Phi(lambda + h) - Phi(lambda - h)) with the half width h = b, for rows with
// a > 0 and b > 0; others are probit rows, a log Phi(lambda) or b log Phi(-lambda). The own parameter is h; those rows have none.
//
// With u = lambda + h, v = lambda - h and D = Phi(u) - Phi(v), derivatives of log D are cumulants of those of D over D, which are
// Hermite polynomials times phi(u) / D and phi(v) / D.
#pragma once
#include <cmath>

#include "binomial_probit.hpp"

namespace clusterglm {

struct ProbitInterval {
    static constexpr bool kLinear = false;
    static constexpr int kCollapses = 0;
    static constexpr bool kOwn = true;

    static double log_factor_bound(double low, double high) { return BinomialProbit::log_factor_bound(low, high); }

    template <bool Unit, class V>
    static CLUSTERGLM_INLINE NodeTermsWithOwn<V> node(const Row<V>& row, V m, V) {
        const Parts<V> t = parts(row.eta + m, row.a, row.b);
        const V G = t.up - t.down, W = t.width, H = second(t) - G * G;
        const V Gg = t.inner * mixed(t) - G * W, gg = t.inner * second(t) - W * W;
        return {{t.weight * t.log_p, V{} + 1.0, t.weight * G, t.weight * H}, {t.weight * W, t.weight * Gg, t.weight * gg}};
    }

    template <class V>
    static CLUSTERGLM_INLINE RowDerivatives<V> derivatives(const Row<V>& row, V m, V) {
        const Parts<V> t = parts(row.eta + m, row.a, row.b);
        const V G = t.up - t.down, D2 = second(t), D3 = third(t), D4 = fourth(t), G2 = G * G;
        return {t.weight * G, t.weight * (D2 - G2), t.weight * (D3 - 3.0 * D2 * G + 2.0 * G2 * G),
                t.weight * (D4 - 4.0 * D3 * G - 3.0 * D2 * D2 + 12.0 * D2 * G2 - 6.0 * G2 * G2)};
    }

    template <class V>
    static CLUSTERGLM_INLINE OwnAtMode<V> own_at_mode(const Row<V>& row, V m, V) {
        const Parts<V> t = parts(row.eta + m, row.a, row.b);
        const V G = t.up - t.down, W = t.width, D2 = second(t), D3 = third(t), D4 = fourth(t), G2 = G * G, W2 = W * W;
        const V M = mixed(t), N = mixed_twice(t), O = mixed_thrice(t), w = t.weight * t.inner;
        return {w * (M - G * W), w * (N - D2 * W - 2.0 * M * G + 2.0 * G2 * W),
                w * (O - 3.0 * N * G - D3 * W - 3.0 * D2 * M + 6.0 * D2 * G * W + 6.0 * M * G2 - 6.0 * G2 * G * W),
                w * (D3 - D2 * G - 2.0 * M * W + 2.0 * G * W2),
                w * (D4 - 2.0 * N * W - 2.0 * D3 * G - D2 * D2 - 2.0 * M * M + 2.0 * (D2 * W2 + D2 * G2 + 4.0 * M * G * W) - 6.0 * G2 * W2)};
    }

    static StableTermsWithOwn stable(double lambda, double a, double b) {
        const double z = std::fabs(lambda) < 1e70 ? lambda : std::copysign(1e70, lambda);
        const Row<double> row{z, 0.0, a, b};
        const NodeTermsWithOwn<double> t = node<false>(row, 0.0, 1.0);
        const RowDerivatives<double> d = derivatives(row, 0.0, 1.0);
        return {{t.additive, d.G, d.H, d.I, d.K}, t.own};
    }

    static OwnAtMode<double> own_at_mode_stable(double lambda, double a, double b) {
        const double z = std::fabs(lambda) < 1e70 ? lambda : std::copysign(1e70, lambda);
        return own_at_mode(Row<double>{z, 0.0, a, b}, 0.0, 1.0);
    }

   private:
    // u, v, phi(u) / D and phi(v) / D (0 where there is no such end), their sum in rows with both, and log D.
    template <class V>
    struct Parts {
        V u, v, up, down, width, log_p, weight, inner;
    };

    template <class V>
    static CLUSTERGLM_INLINE Parts<V> parts(V lambda, V a, V b) {
        constexpr double kRootHalf = 0.70710678118654752440, kOneOverRootTwoPi = 0.39894228040143267794;
        const V zero{}, one = zero + 1.0;
        const auto both = (a > zero) & (b > zero);
        const auto negative = lambda < zero;
        const V h = both ? b : zero, s = negative ? -lambda : lambda, near = s - h, far = s + h;
        const V z = near < zero ? -near : near;
        const V tail_near = 0.5 * BinomialProbit::scaled_erfc(z * kRootHalf), tail_far = 0.5 * BinomialProbit::scaled_erfc(far * kRootHalf);
        const V e_near = lanes::exp(-0.5 * z * z), e_far = lanes::exp(-0.5 * far * far), drop = lanes::exp(-2.0 * s * h);
        // Beyond the interval: times exp(near^2 / 2). Inside, or where the only end lies behind: one less the tails.
        const auto one_sided_likely = (a > zero) ? !negative : negative;  // of rows with one end: P is one less a tail
        const auto outside = both ? (near > zero) : !one_sided_likely;
        const V second_tail = both ? tail_far : zero;
        const V scaled = outside ? tail_near - drop * second_tail : one - e_near * tail_near - e_far * second_tail;
        const V log_p = lanes::log(scaled) - (outside ? 0.5 * z * z : zero);
        const V at_near = kOneOverRootTwoPi * (outside ? one : e_near) / scaled;
        const V at_far = kOneOverRootTwoPi * (both ? (outside ? drop : e_far) : zero) / scaled;
        // The nearer end is v where lambda > 0, u where it is negative; a single end is u of a success, v of a failure.
        const auto near_is_v = both ? !negative : !(a > zero);
        const V up = near_is_v ? at_far : at_near, down = near_is_v ? at_near : at_far;
        const V weight = both ? a : a + b;
        return {lambda + h, lambda - h, up, down, both ? up + down : zero, weight > zero ? log_p : zero, weight, both ? one : zero};
    }

    template <class V>
    static CLUSTERGLM_INLINE V second(const Parts<V>& t) { return -t.u * t.up + t.v * t.down; }
    template <class V>
    static CLUSTERGLM_INLINE V third(const Parts<V>& t) { return (t.u * t.u - 1.0) * t.up - (t.v * t.v - 1.0) * t.down; }
    template <class V>
    static CLUSTERGLM_INLINE V fourth(const Parts<V>& t) { return t.v * (t.v * t.v - 3.0) * t.down - t.u * (t.u * t.u - 3.0) * t.up; }
    // Derivatives of D / D once in h, and once, twice and three times in lambda.
    template <class V>
    static CLUSTERGLM_INLINE V mixed(const Parts<V>& t) { return -t.u * t.up - t.v * t.down; }
    template <class V>
    static CLUSTERGLM_INLINE V mixed_twice(const Parts<V>& t) { return (t.u * t.u - 1.0) * t.up + (t.v * t.v - 1.0) * t.down; }
    template <class V>
    static CLUSTERGLM_INLINE V mixed_thrice(const Parts<V>& t) { return -t.u * (t.u * t.u - 3.0) * t.up - t.v * (t.v * t.v - 3.0) * t.down; }
};

}  // namespace clusterglm
