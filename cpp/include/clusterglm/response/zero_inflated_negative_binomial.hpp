// Zero-inflated negative binomial counts, at lambda with log(alpha) among its offset, r = 1 / alpha. A positive count: a = weight * count
// and b = weight * r, a row as in negative_binomial.hpp. A zero: b = -r, and a is the row's own w (zero_inflated.hpp), without a weight.
// Two own numbers: log(alpha), which moves lambda by itself and r by -r, and w.
#pragma once
#include "negative_binomial.hpp"
#include "zero_inflated.hpp"

namespace clusterglm {

struct ZeroInflatedNegativeBinomial {
    static constexpr bool kLinear = false;
    static constexpr int kCollapses = 0;
    static constexpr bool kSeveralModes = true;
    static constexpr int kOwn = 2;

    static double log_factor_bound(double, double) { return 0.0; }

    template <bool, class V>
    static CLUSTERGLM_INLINE NodeTermsWithOwn<V, 2> node(const Row<V>& row, V m, V E) {
        const V zero{}, one = zero + 1.0;
        const auto is_zero = row.b < zero;
        const Row<V> plain = without_zeros(row);
        const NodeTermsWithOwn<V> c = NegativeBinomial::node<false>(plain, m, E);
        const V x = row.e * E, q = 1.0 / (1.0 + x);
        const Parts<V> t(is_zero ? -row.b : zero, lanes::log(1.0 + x), x * q, q);
        const zeros::Zero<V> f(is_zero ? row.a : zero, t.r.m);
        const auto pick = [&](V at_zero, V positive) { return is_zero ? at_zero : positive; };
        return {{pick(f.value, c.additive + plain.a * (row.eta + m)), one, pick(first(f, t.r), c.G), pick(second(f, t.r), c.H)},
                {{pick(f.F1 * t.n, c.own.g[0]), pick(1.0 + f.F1, zero)},
                 {pick(f.F1 * t.n1 + f.F2 * t.r.m1 * t.n, c.own.Gg[0]), pick(f.F2 * t.r.m1, zero)},
                 {pick(f.F1 * t.o + f.F2 * t.n * t.n, c.own.gg[0]), pick(f.F2 * t.n, zero), pick(f.F2, zero)}}};
    }

    template <class V>
    static CLUSTERGLM_INLINE RowDerivatives<V> derivatives(const Row<V>& row, V m, V E) {
        const V zero{};
        const auto is_zero = row.b < zero;
        const RowDerivatives<V> c = BinomialLogit::derivatives(without_zeros(row), m, E);
        const V x = row.e * E, q = 1.0 / (1.0 + x);
        const Parts<V> t(is_zero ? -row.b : zero, lanes::log(1.0 + x), x * q, q);
        const RowDerivatives<V> d = in_lambda(zeros::Zero<V>(is_zero ? row.a : zero, t.r.m), t.r);
        return {is_zero ? d.G : c.G, is_zero ? d.H : c.H, is_zero ? d.I : c.I, is_zero ? d.K : c.K};
    }

    template <class V>
    static CLUSTERGLM_INLINE OwnAtMode<V, 2> own_at_mode(const Row<V>& row, V m, V E) {
        const V x = row.e * E, q = 1.0 / (1.0 + x);
        return own_of(row, NegativeBinomial::own_at_mode(without_zeros(row), m, E), lanes::log(1.0 + x), x * q, q);
    }

    static StableTermsWithOwns<2> stable(double lambda, double a, double b) {
        if (!(b < 0.0)) {
            const StableTermsWithOwn c = NegativeBinomial::stable(lambda, a, b);
            return {c, {{c.own.g[0], 0.0}, {c.own.Gg[0], 0.0}, {c.own.gg[0], 0.0, 0.0}}};
        }
        const Parts<double> t = far_parts(lambda, -b);
        const zeros::Zero<double> f(a, t.r.m);
        const RowDerivatives<double> d = in_lambda(f, t.r);
        return {{f.value, d.G, d.H, d.I, d.K},
                {{f.F1 * t.n, 1.0 + f.F1}, {f.F1 * t.n1 + f.F2 * t.r.m1 * t.n, f.F2 * t.r.m1}, {f.F1 * t.o + f.F2 * t.n * t.n, f.F2 * t.n, f.F2}}};
    }

    static OwnAtMode<double, 2> own_at_mode_stable(double lambda, double a, double b) {
        const Row<double> row{0.0, 0.0, a, b};
        const bool is_zero = b < 0.0;
        const double z = std::exp(-std::fabs(lambda)), tail = z / (1.0 + z), rest = 1.0 / (1.0 + z);
        const double L = (lambda > 0 ? lambda : 0.0) + std::log1p(z);
        return own_of(row, NegativeBinomial::own_at_mode_stable(lambda, is_zero ? 0.0 : a, is_zero ? 0.0 : b), L, lambda > 0 ? rest : tail,
                      lambda > 0 ? tail : rest);
    }

   private:
    // m = r log(1 + e^x) with its derivatives in lambda; in log(alpha) once, n, and twice, o, with theirs.
    template <class V>
    struct Parts {
        zeros::Rate<V> r;
        V n, n1, n2, n3, o, o1, o2;

        CLUSTERGLM_INLINE Parts(V size, V log_ratio, V p, V q) {
            const V first = size * p, pq = p * q, second = size * pq;
            r = {size * log_ratio, first, second, second * (q - p), second * (1.0 - 6.0 * pq)};
            n = r.m1 - r.m, n1 = r.m2 - r.m1, n2 = r.m3 - r.m2, n3 = r.m4 - r.m3;
            o = n1 - n, o1 = n2 - n1, o2 = n3 - n2;
        }
    };

    static Parts<double> far_parts(double lambda, double size) {
        const double z = std::exp(-std::fabs(lambda)), tail = z / (1.0 + z), rest = 1.0 / (1.0 + z);
        const double L = (lambda > 0 ? lambda : 0.0) + std::log1p(z);
        return Parts<double>(size, L, lambda > 0 ? rest : tail, lambda > 0 ? tail : rest);
    }

    // A positive count as it is; of a zero, an empty row.
    template <class V>
    static CLUSTERGLM_INLINE Row<V> without_zeros(const Row<V>& row) {
        const V zero{};
        const auto is_zero = row.b < zero;
        return {row.eta, row.e, is_zero ? zero : row.a, is_zero ? zero : row.b};
    }

    template <class V>
    static CLUSTERGLM_INLINE OwnAtMode<V, 2> own_of(const Row<V>& row, const OwnAtMode<V>& c, V log_ratio, V p, V q) {
        const V zero{};
        const auto is_zero = row.b < zero;
        const Parts<V> t(is_zero ? -row.b : zero, log_ratio, p, q);
        const zeros::Zero<V> f(is_zero ? row.a : zero, t.r.m);
        const OwnAtMode<V> w = in_w(f, t.r);
        const V m1 = t.r.m1, m2 = t.r.m2, m3 = t.r.m3, square = m1 * m1;
        const auto pick = [&](V at_zero, V positive) { return is_zero ? at_zero : positive; };
        const V Gg = f.F1 * t.n1 + f.F2 * m1 * t.n;
        const V Hg = f.F1 * t.n2 + f.F2 * (m2 * t.n + 2.0 * m1 * t.n1) + f.F3 * square * t.n;
        const V Ig = f.F1 * t.n3 + f.F2 * (3.0 * m1 * t.n2 + 3.0 * m2 * t.n1 + m3 * t.n) + 3.0 * f.F3 * (m1 * m2 * t.n + square * t.n1) +
                     f.F4 * square * m1 * t.n;
        const V Ggg = f.F1 * t.o1 + f.F2 * (m1 * t.o + 2.0 * t.n * t.n1) + f.F3 * m1 * t.n * t.n;
        const V Hgg = f.F1 * t.o2 + f.F2 * (2.0 * m1 * t.o1 + m2 * t.o + 2.0 * (t.n1 * t.n1 + t.n * t.n2)) +
                      f.F3 * (square * t.o + m2 * t.n * t.n + 4.0 * m1 * t.n * t.n1) + f.F4 * square * t.n * t.n;
        const V Gmix = f.F2 * t.n1 + f.F3 * m1 * t.n;
        const V Hmix = f.F2 * t.n2 + f.F3 * (2.0 * m1 * t.n1 + m2 * t.n) + f.F4 * square * t.n;
        return {{pick(Gg, c.Gg[0]), pick(w.Gg[0], zero)}, {pick(Hg, c.Hg[0]), pick(w.Hg[0], zero)}, {pick(Ig, c.Ig[0]), pick(w.Ig[0], zero)},
                {pick(Ggg, c.Ggg[0]), pick(Gmix, zero), pick(w.Ggg[0], zero)}, {pick(Hgg, c.Hgg[0]), pick(Hmix, zero), pick(w.Hgg[0], zero)}};
    }
};

}  // namespace clusterglm
