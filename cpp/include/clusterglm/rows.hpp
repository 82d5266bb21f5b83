// The rows of one cluster, gathered for the inner loops, and their derivatives at one value of the intercept.
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
struct DerivativeSums {
    double S1, S2, S3, S4;
};

struct ClusterRows {
    int n = 0;
    double eta_low = 0.0, eta_high = 0.0, sum_a = 0.0, sum_a_eta = 0.0;
    std::vector<double> eta, e, a, b;  // padded with empty rows (a = b = 0)
    std::vector<double> G, H, I, K;    // at the mode

    // Beyond this |lambda| products of exponentials are left for formulas that cannot overflow.
    static constexpr double kRange = 300.0;
    double reach() const { return std::max(std::fabs(eta_low), std::fabs(eta_high)); }

    void resize(int count) {
        n = count;
        const auto size = static_cast<std::size_t>(padded(count));
        if (eta.size() < size)
            for (auto* v : {&eta, &e, &a, &b, &G, &H, &I, &K}) v->resize(std::max(size, std::size_t{16}));
        for (std::size_t j = static_cast<std::size_t>(count); j < size; ++j) eta[j] = a[j] = b[j] = 0.0;
    }

    // After eta, a and b are set: exponentials, range and the linear part.
    CLUSTERGLM_INLINE void finish() {
        for (int j = 0; j < n; j += kLanes) store(&e[j], lanes::exp(clusterglm::load(&eta[j])));
        eta_low = eta_high = eta[0];
        sum_a = sum_a_eta = 0.0;
        for (int j = 0; j < n; ++j) {
            eta_low = std::min(eta_low, eta[j]);
            eta_high = std::max(eta_high, eta[j]);
            sum_a += a[j];
            sum_a_eta += a[j] * eta[j];
        }
    }

    void load(const Problem& problem, std::int64_t cluster, const double* beta) {
        const std::int64_t start = problem.starts[cluster];
        resize(static_cast<int>(problem.starts[cluster + 1] - start));
        for (int j = 0; j < n; ++j) {
            eta[j] = problem.eta(start + j, beta);
            a[j] = problem.a[start + j];
            b[j] = problem.b[start + j];
        }
    }
};

// Fills G, H, I, K of all rows for a random intercept m and returns their sums.
template <class R>
CLUSTERGLM_INLINE DerivativeSums derivatives(ClusterRows& rows, double m) {
    DerivativeSums sums{0.0, 0.0, 0.0, 0.0};
    if (rows.reach() + std::fabs(m) > ClusterRows::kRange) {
        for (int j = 0; j < rows.n; ++j) {
            const StableTerms t = R::stable(rows.eta[j] + m, rows.a[j], rows.b[j]);
            rows.G[j] = t.G, rows.H[j] = t.H, rows.I[j] = t.I, rows.K[j] = t.K;
            sums.S1 += t.G, sums.S2 += t.H, sums.S3 += t.I, sums.S4 += t.K;
        }
        return sums;
    }
    const Pack M = all(m), E = lanes::exp(M);
    Pack s1{}, s2{}, s3{}, s4{};
    for (int j = 0; j < rows.n; j += kLanes) {
        const Row<Pack> row{load(&rows.eta[j]), load(&rows.e[j]), load(&rows.a[j]), load(&rows.b[j])};
        const RowDerivatives<Pack> d = R::derivatives(row, M, E);
        s1 += d.G, s2 += d.H, s3 += d.I, s4 += d.K;
        store(&rows.G[j], d.G), store(&rows.H[j], d.H), store(&rows.I[j], d.I), store(&rows.K[j], d.K);
    }
    return {reduce(s1), reduce(s2), reduce(s3), reduce(s4)};
}

}  // namespace clusterglm
