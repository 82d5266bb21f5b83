// Negative binomial counts from 1 on: with x the linear predictor, log(1/r) among its offset, p = 1 / (1 + e^-x) and L = log(1 + e^x),
// log P = a log p - log(e^t - 1) + a constant, where t = r L = -log P(0), a is the count and b = r. Rows have no weights, but for those
// that are empty (a = b = 0). The own parameter is w = log(1/r) = log(alpha): it moves x by itself, and r by -r.
//
// All derivatives of t = r L follow from those in x, r p, r p q, ...: one in w is one in x less the quantity itself. They are taken in
// units of t, and those of -log(e^t - 1) in units of its powers, as t may be tiny.
#pragma once
#include <cmath>

#include "../lanes.hpp"
#include "row.hpp"

namespace clusterglm {

struct TruncatedNegativeBinomial {
    static constexpr bool kLinear = false;
    static constexpr int kCollapses = 0;
    static constexpr bool kOwn = true;

    static double log_factor_bound(double, double) { return 0.0; }
    static int rises_towards(double a, double, int n) { return a > n ? 0 : -1; }  // downwards where every count is 1

    template <bool, class V>
    static CLUSTERGLM_INLINE NodeTermsWithOwn<V> node(const Row<V>& row, V m, V E) {
        const Parts<V> c = parts(row.eta + m, row.e * E, row.a, row.b);
        const V a2 = -row.a * c.p * c.q;
        return {{c.value, V{} + 1.0, row.a * c.q + c.F1 * c.t1, a2 + c.F2 * c.t1 * c.t1 + c.F1 * c.t2},
                {row.a * c.q + c.F1 * c.w0(), a2 + c.F2 * c.t1 * c.w0() + c.F1 * c.w1(), a2 + c.F2 * c.w0() * c.w0() + c.F1 * c.ww0()}};
    }

    template <class V>
    static CLUSTERGLM_INLINE RowDerivatives<V> derivatives(const Row<V>& row, V m, V E) {
        return of(parts(row.eta + m, row.e * E, row.a, row.b), row.a);
    }

    template <class V>
    static CLUSTERGLM_INLINE OwnAtMode<V> own_at_mode(const Row<V>& row, V m, V E) {
        return own_of(parts(row.eta + m, row.e * E, row.a, row.b), row.a);
    }

    static StableTermsWithOwn stable(double x, double a, double b) {
        const Parts<double> c = stable_parts(x, a, b);
        const RowDerivatives<double> d = of(c, a);
        const double a2 = -a * c.p * c.q;
        return {{c.value, d.G, d.H, d.I, d.K},
                {a * c.q + c.F1 * c.w0(), a2 + c.F2 * c.t1 * c.w0() + c.F1 * c.w1(), a2 + c.F2 * c.w0() * c.w0() + c.F1 * c.ww0()}};
    }

    static OwnAtMode<double> own_at_mode_stable(double x, double a, double b) { return own_of(stable_parts(x, a, b), a); }

   private:
    // p and q; t^-1 times the derivatives of t in x; t, t^2, ... times those of F(t) = -log(e^t - 1); the whole of log P. In w: once (w),
    // twice (ww).
    template <class V>
    struct Parts {
        V p, q, t1, t2, t3, t4, F1, F2, F3, F4, value;
        CLUSTERGLM_INLINE V w0() const { return t1 - 1.0; }
        CLUSTERGLM_INLINE V w1() const { return t2 - t1; }
        CLUSTERGLM_INLINE V w2() const { return t3 - t2; }
        CLUSTERGLM_INLINE V w3() const { return t4 - t3; }
        CLUSTERGLM_INLINE V ww0() const { return t2 - 2.0 * t1 + 1.0; }
        CLUSTERGLM_INLINE V ww1() const { return t3 - 2.0 * t2 + t1; }
        CLUSTERGLM_INLINE V ww2() const { return t4 - 2.0 * t3 + t2; }
    };

    template <class V>
    static CLUSTERGLM_INLINE Parts<V> parts(V x, V e, V a, V r) {
        // log(1 + e), with all digits of a small e: the quotient undoes the rounding of the sum
        const V one = V{} + 1.0, sum = one + e, gained = sum - one, q = one / sum, p = e * q;
        const V log_sum = lanes::log(sum), L = gained == V{} ? e : (e < one ? log_sum * (e / (gained == V{} ? one : gained)) : log_sum);
        return parts_of(x - L, L, p, q, a, r);
    }
    static Parts<double> stable_parts(double x, double a, double r) {
        if (!(r > 0.0)) return parts_of(0.0, 1.0, 0.5, 0.5, 0.0, 0.0);  // an empty row
        const double z = std::exp(-std::fabs(x)), tail = z / (1.0 + z), rest = 1.0 / (1.0 + z);
        const double L = (x > 0 ? x : 0.0) + std::log1p(z), log_p = (x > 0 ? 0.0 : x) - std::log1p(z);
        const double least = 1e-280;  // where e^t is 1 + t to all digits, and nothing overflows
        if (r > 0.0 && r * L < least) return parts_of(log_p, least / r, least / r, rest, a, r, x + std::log(r));
        return parts_of(log_p, L, x > 0 ? rest : tail, x > 0 ? tail : rest, a, r);
    }
    // log_t: the logarithm of t where t itself is out of range.
    template <class V>
    static CLUSTERGLM_INLINE Parts<V> parts_of(V log_p, V L, V p, V q, V a, V r, V log_t = V{}) {
        const V zero{}, one = zero + 1.0;
        const auto there = r > zero;
        const V t = there ? r * L : one, survival = t < zero + 700.0 ? lanes::exp(-t) : zero, event = lanes::one_minus_exp(t, survival);
        const V h = there ? t * survival / event : zero, on = there ? t : zero, sum = on + h, hh = h * sum;  // h: t / (e^t - 1)
        const V v = p * q, first = p / L, second = first * q, minus_log = log_t < zero ? -log_t : -(t + lanes::log(event));
        return {p, q, first, second, second * (q - p), second * (1.0 - 6.0 * v), -sum, hh, -hh * (sum + h), hh * (on * on + 6.0 * hh),
                there ? a * log_p + minus_log : zero};
    }

    template <class V>
    static CLUSTERGLM_INLINE RowDerivatives<V> of(const Parts<V>& c, V a) {
        const V av = a * c.p * c.q, t1 = c.t1, t2 = c.t2, s = t1 * t1;
        return {a * c.q + c.F1 * t1, c.F2 * s + c.F1 * t2 - av, c.F3 * s * t1 + 3.0 * c.F2 * t1 * t2 + c.F1 * c.t3 - av * (c.q - c.p),
                c.F4 * s * s + 6.0 * c.F3 * s * t2 + c.F2 * (3.0 * t2 * t2 + 4.0 * t1 * c.t3) + c.F1 * c.t4 - av * (1.0 - 6.0 * c.p * c.q)};
    }

    template <class V>
    static CLUSTERGLM_INLINE OwnAtMode<V> own_of(const Parts<V>& c, V a) {
        const V av = a * c.p * c.q, a3 = -av * (c.q - c.p), a4 = -av * (1.0 - 6.0 * c.p * c.q), t1 = c.t1, t2 = c.t2, t3 = c.t3, s = t1 * t1;
        const V w0 = c.w0(), w1 = c.w1(), w2 = c.w2(), ww0 = c.ww0(), ww1 = c.ww1();
        return {c.F2 * t1 * w0 + c.F1 * w1 - av, a3 + c.F3 * s * w0 + c.F2 * (2.0 * t1 * w1 + t2 * w0) + c.F1 * w2,
                a4 + c.F4 * s * t1 * w0 + 3.0 * c.F3 * t1 * (t1 * w1 + w0 * t2) + c.F2 * (3.0 * (w1 * t2 + t1 * w2) + w0 * t3) + c.F1 * c.w3(),
                a3 + c.F3 * t1 * w0 * w0 + c.F2 * (2.0 * w0 * w1 + t1 * ww0) + c.F1 * ww1,
                a4 + c.F4 * s * w0 * w0 + c.F3 * (t2 * w0 * w0 + 4.0 * t1 * w0 * w1 + s * ww0) +
                    c.F2 * (2.0 * w1 * w1 + 2.0 * w0 * w2 + t2 * ww0 + 2.0 * t1 * ww1) + c.F1 * c.ww2()};
    }
};

}  // namespace clusterglm
