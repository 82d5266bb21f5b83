// What kernels of zero-inflated counts share. A count is 0 for certain with probability pi = e^w / (1 + e^w), and otherwise one of a
// distribution with P(0) = e^-m: times 1 + e^w, which is left to the caller, a positive count has the probability that it has there, and
// a zero e^w + e^-m. Its logarithm falls in lambda, from a bend that is not concave to w.
#pragma once
#include <cmath>

#include "../lanes.hpp"
#include "row.hpp"

namespace clusterglm::zeros {

// log(e^w + e^-m) and its derivatives in m; in w it has 1 + F1, and then the same.
template <class V>
struct Zero {
    V value, F1, F2, F3, F4;

    CLUSTERGLM_INLINE Zero(V w, V m) {
        const V t = w + m, z = lanes::exp(-lanes::magnitude(t)), q = 1.0 / (1.0 + z), zero{};
        const V s = t > zero ? z * q : q, v = z * q * q, skew = 1.0 - 2.0 * s;  // s: that it is no certain zero
        value = (t > zero ? w : -m) + lanes::log(1.0 + z);
        F1 = -s, F2 = v, F3 = -skew * v, F4 = (skew * skew - 2.0 * v) * v;
    }
};

// The derivatives of m in lambda.
template <class V>
struct Rate {
    V m, m1, m2, m3, m4;
};

template <class V>
CLUSTERGLM_INLINE V first(const Zero<V>& f, const Rate<V>& r) { return f.F1 * r.m1; }
template <class V>
CLUSTERGLM_INLINE V second(const Zero<V>& f, const Rate<V>& r) { return f.F1 * r.m2 + f.F2 * r.m1 * r.m1; }

template <class V>
CLUSTERGLM_INLINE RowDerivatives<V> in_lambda(const Zero<V>& f, const Rate<V>& r) {
    const V square = r.m1 * r.m1;
    return {first(f, r), second(f, r), f.F1 * r.m3 + 3.0 * f.F2 * r.m1 * r.m2 + f.F3 * square * r.m1,
            f.F1 * r.m4 + f.F2 * (4.0 * r.m1 * r.m3 + 3.0 * r.m2 * r.m2) + 6.0 * f.F3 * square * r.m2 + f.F4 * square * square};
}

// dl/dw once, twice and three times in lambda; d2l/dw2 once and twice.
template <class V>
CLUSTERGLM_INLINE OwnAtMode<V> in_w(const Zero<V>& f, const Rate<V>& r) {
    const V square = r.m1 * r.m1;
    return {f.F2 * r.m1, f.F2 * r.m2 + f.F3 * square, f.F2 * r.m3 + 3.0 * f.F3 * r.m1 * r.m2 + f.F4 * square * r.m1,
            f.F3 * r.m1, f.F3 * r.m2 + f.F4 * square};
}

}  // namespace clusterglm::zeros
