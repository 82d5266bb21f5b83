// Rising factorials: of log(s (s + 1) ... (s + k - 1)) = log Gamma(s + k) - log Gamma(s), the first four derivatives in log(s), for
// counts k from 0 on, and its value but for the first factor.
//
// Each of the first factors adds v = s / (s + i), v u with u = i / (s + i), ..., which lose no digit however large s is; the others add
// a difference of log Gamma and its derivatives, by Stirling's series at arguments of kFirst and more.
#pragma once

#include "../lanes.hpp"

namespace clusterglm {

template <class V>
struct Rising {
    V rest;  // the logarithm, less log(s) where k > 0
    V d1, d2, d3, d4;
};

inline constexpr int kFirst = 8;  // factors that are taken one by one

namespace rising_detail {

// Sum of c_n z^n, from the last coefficient on.
template <class V, int N>
CLUSTERGLM_INLINE V polynomial(V z, const double (&c)[N]) {
    V sum = V{} + c[N - 1];
    for (int n = N - 2; n >= 0; --n) sum = sum * z + c[n];
    return sum;
}

// The coefficients of z^-1, z^-3, ... in log Gamma(z); those of z^-2, z^-4, ... in minus the digamma function, and its derivatives.
inline constexpr double kLogGamma[] = {1.0 / 12, -1.0 / 360, 1.0 / 1260, -1.0 / 1680, 1.0 / 1188, -691.0 / 360360, 1.0 / 156, -3617.0 / 122400};
inline constexpr double kFirstOf[] = {1.0 / 12, -1.0 / 120, 1.0 / 252, -1.0 / 240, 1.0 / 132, -691.0 / 32760, 1.0 / 12, -3617.0 / 8160};
inline constexpr double kSecondOf[] = {1.0 / 6, -1.0 / 30, 1.0 / 42, -1.0 / 30, 5.0 / 66, -691.0 / 2730, 7.0 / 6, -3617.0 / 510};
inline constexpr double kThirdOf[] = {1.0 / 2, -1.0 / 6, 1.0 / 6, -3.0 / 10, 5.0 / 6, -691.0 / 210, 35.0 / 2, -3617.0 / 30};
inline constexpr double kFourthOf[] = {2.0, -1.0, 4.0 / 3, -3.0, 10.0, -691.0 / 15, 280.0, -3617.0 * 18 / 30};

// The factors from s + kFirst on, n of them: added to what the first ones make.
template <int Order, class V>
CLUSTERGLM_INLINE void add_far(Rising<V>& to, V s, V log_z, V n) {
    const V one = V{} + 1.0, z = s + static_cast<double>(kFirst), w = z + n, iz = one / z, iw = one / w;
    const V ratio = n * iz, sum = one + ratio, gained = sum - one;
    const V grown = gained == V{} ? ratio : lanes::log(sum) * (ratio / (gained == V{} ? one : gained));  // log1p(n / z)
    const V zz = iz * iz, ww = iw * iw, gap = ratio * iw;                                               // 1 / z - 1 / w
    to.rest += (z - 0.5) * grown + n * (log_z + grown) - n + iw * polynomial(ww, kLogGamma) - iz * polynomial(zz, kLogGamma);
    // differences of derivatives of log Gamma, at w less at z, times powers of s
    const V e1 = s * (grown + 0.5 * gap + (zz * polynomial(zz, kFirstOf) - ww * polynomial(ww, kFirstOf)));
    const V square = gap * (iz + iw);  // 1 / z^2 - 1 / w^2
    const V e2 = s * s * (-gap - 0.5 * square + (ww * iw * polynomial(ww, kSecondOf) - zz * iz * polynomial(zz, kSecondOf)));
    to.d1 += e1, to.d2 += e1 + e2;
    if constexpr (Order > 2) {
        const V cube = gap * (zz + iz * iw + ww);  // 1 / z^3 - 1 / w^3
        const V e3 = s * s * s * (square + cube + (zz * zz * polynomial(zz, kThirdOf) - ww * ww * polynomial(ww, kThirdOf)));
        const V fourth = gap * (iz + iw) * (zz + ww);  // 1 / z^4 - 1 / w^4
        const V inner = -2.0 * cube - 3.0 * fourth + (ww * ww * iw * polynomial(ww, kFourthOf) - zz * zz * iz * polynomial(zz, kFourthOf));
        const V s2 = s * s, e4 = s2 * s2 * inner;
        to.d3 += e1 + 3.0 * e2 + e3, to.d4 += e1 + 7.0 * e2 + 6.0 * e3 + e4;
    }
}

}  // namespace rising_detail

// Order 2: d1 and d2 alone.
template <int Order, class V>
CLUSTERGLM_INLINE Rising<V> rising(V s, V k) {
    const V zero{}, one = zero + 1.0;
    const auto some = k > zero;
    Rising<V> sum{zero, some ? one : zero, zero, zero, zero};
    if (lanes::every(!(k > one))) return sum;
    const V z = s + static_cast<double>(kFirst), iz = one / z;
    V product = one;
    for (int i = 1; i < kFirst; ++i) {
        const auto there = k > zero + static_cast<double>(i);
        if (lanes::every(!there)) break;
        const V factor = s + static_cast<double>(i), inverse = (there ? one : zero) / factor;
        product *= there ? factor * iz : one;
        const V v = s * inverse, u = static_cast<double>(i) * inverse, vu = v * u;
        sum.d1 += v, sum.d2 += vu;
        if constexpr (Order > 2) sum.d3 += vu * (u - v), sum.d4 += vu * (1.0 - 6.0 * vu);
    }
    const V log_z = lanes::log(z), first = static_cast<double>(kFirst) + zero, near = k < first ? k : first;
    sum.rest = (some ? near - 1.0 : zero) * log_z + lanes::log(product);
    if (!lanes::every(!(k > first))) {
        Rising<V> far = sum;
        rising_detail::add_far<Order>(far, s, log_z, k > first ? k - first : zero);
        sum = far;
    }
    return sum;
}

}  // namespace clusterglm
