// The rows of one cluster, or of four clusters side by side, gathered for the inner loops, and their derivatives at one value of
// the intercept. V says which (lanes.hpp).
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "lanes.hpp"
#include "problem.hpp"
#include "response/row.hpp"

namespace clusterglm {

// Sums over the rows of a cluster of the first four derivatives of log P in lambda.
template <class V>
struct DerivativeSums {
    V S1, S2, S3, S4;
};

template <class V>
struct Rows {
    int n = 0;                         // of four clusters: of the largest
    int common = 0;                    // rows that every lane has; beyond, some are empty (a = b = 0)
    V eta_low, eta_high, sum_a, sum_a_eta;
    std::vector<double> eta, e, a, b;  // arrays of V, padded with empty rows to whole packs
    std::vector<double> H, I, K;       // at the mode

    // Beyond this |lambda| products of exponentials are left for formulas that cannot overflow.
    static constexpr double kRange = 300.0;
    CLUSTERGLM_INLINE V reach() const {
        const V low = lanes::magnitude(eta_low), high = lanes::magnitude(eta_high);
        return low > high ? low : high;
    }

    int size() const { return padded(n * kWidth<V>); }

    void resize(int count) {
        n = common = count;
        const auto cells = static_cast<std::size_t>(size());
        if (eta.size() < cells)
            for (auto* v : {&eta, &e, &a, &b, &H, &I, &K}) v->resize(std::max(cells, std::size_t{16}));
        for (std::size_t j = static_cast<std::size_t>(count) * kWidth<V>; j < cells; ++j) eta[j] = a[j] = b[j] = 0.0;
    }

    // After eta, a and b are set: exponentials, range and the linear part.
    CLUSTERGLM_INLINE void finish() {
        for (int i = 0; i < size(); i += kLanes) store(&e[i], lanes::exp(clusterglm::load(&eta[i])));
        eta_low = eta_high = get<V>(eta.data(), 0);
        sum_a = sum_a_eta = V{};
        V far{};
        for (int j = 0; j < n; ++j) {
            const V eta_j = get<V>(eta.data(), j), a_j = get<V>(a.data(), j);
            eta_low = eta_j < eta_low ? eta_j : eta_low;
            eta_high = eta_j > eta_high ? eta_j : eta_high;
            sum_a += a_j;
            sum_a_eta += a_j * eta_j;
            if ((j + 1) % 1024 == 0) far += sum_a_eta, sum_a_eta = V{};  // not added to a sum that is large already
        }
        sum_a_eta += far;
    }

    // A single row, given the exponential as well.
    CLUSTERGLM_INLINE void set_only(V eta_, V e_, V a_, V b_) {
        store(eta.data(), eta_), store(e.data(), e_), store(a.data(), a_), store(b.data(), b_);
        eta_low = eta_high = eta_, sum_a = a_, sum_a_eta = a_ * eta_;
    }

    // Row j of the cluster in every lane, or of the four clusters.
    CLUSTERGLM_INLINE Row<Pack> row(int j) const {
        return {spread(get<V>(eta.data(), j)), spread(get<V>(e.data(), j)), spread(get<V>(a.data(), j)), spread(get<V>(b.data(), j))};
    }
};
using ClusterRows = Rows<double>;

inline void load_cluster(ClusterRows& rows, const Problem& problem, std::int64_t cluster, const double* beta) {
    const std::int64_t start = problem.starts[cluster];
    rows.resize(static_cast<int>(problem.starts[cluster + 1] - start));
    for (int j = 0; j < rows.n; ++j) {
        rows.eta[j] = problem.eta(start + j, beta);
        rows.a[j] = problem.a[start + j];
        rows.b[j] = problem.b[start + j];
    }
}

// Sums over rows for a random intercept m, that of K for order 2 only; fills the rows' H and I from order 1 on, K for order 2.
template <class R, int Order, class V>
CLUSTERGLM_INLINE DerivativeSums<V> derivatives(Rows<V>& rows, V m) {
    if (!lanes::every(rows.reach() + lanes::magnitude(m) <= V{} + Rows<V>::kRange)) {
        DerivativeSums<V> sums{};
        for (int i = 0; i < rows.n * kWidth<V>; ++i) {
            const StableTerms t = R::stable(rows.eta[i] + lane(m, i % kWidth<V>), rows.a[i], rows.b[i]);
            const auto add = [&](V& sum, double x) {
                if constexpr (kWidth<V> == 1) sum += x;
                else sum[i % kLanes] += x;
            };
            add(sums.S1, t.G), add(sums.S2, t.H), add(sums.S3, t.I), add(sums.S4, t.K);
            rows.H[i] = t.H, rows.I[i] = t.I, rows.K[i] = t.K;
        }
        return sums;
    }
    const Pack M = spread(m), E = lanes::exp(M);
    const double *eta = rows.eta.data(), *e = rows.e.data(), *a = rows.a.data(), *b = rows.b.data();
    double *H = rows.H.data(), *I = rows.I.data(), *K = rows.K.data();
    Pack s1{}, s2{}, s3{}, s4{};
    for (int i = 0, end = rows.size(); i < end; i += kLanes) {
        const RowDerivatives<Pack> d = R::derivatives(Row<Pack>{load(eta + i), load(e + i), load(a + i), load(b + i)}, M, E);
        s1 += d.G, s2 += d.H, s3 += d.I;
        if constexpr (Order > 0) store(H + i, d.H), store(I + i, d.I);
        if constexpr (Order > 1) s4 += d.K, store(K + i, d.K);
    }
    return {gather<V>(s1), gather<V>(s2), gather<V>(s3), gather<V>(s4)};
}

}  // namespace clusterglm
