// The log-likelihood without cluster effects, its score and Hessian, and per cluster the sums of the rows' derivatives.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "blocks.hpp"
#include "gram.hpp"
#include "rows.hpp"

namespace clusterglm {

// Rows in a row, whatever clusters they belong to; what lies beyond them is empty, a = b = 0.
struct PooledRows {
    static constexpr int kRows = Columns::kRows;
    int n = 0;
    double eta[kRows], a[kRows], b[kRows], value[kRows], G[kRows], H[kRows];

    CLUSTERGLM_INLINE void load(const Problem& problem, std::int64_t start, int rows, const double* beta, Columns& X) {
        n = rows;
        X.load(problem.X + start * problem.p, n);
        std::copy_n(problem.a + start, n, a);
        std::copy_n(problem.b + start, n, b);
        std::copy_n(problem.offset + start, n, eta);
        for (int j = n; j < padded(n); ++j) eta[j] = a[j] = b[j] = 0.0;
        for (int i = 0; i < n; i += kLanes) store(eta + i, X.dot(i / kLanes, beta, clusterglm::load(eta + i)));
    }

    // Values of all rows but for a factor each, of which the product is taken; value, G and H are filled.
    template <class R, bool Unit>
    CLUSTERGLM_INLINE Pack terms() {
        Pack product = all(1.0);
        for (int i = 0; i < n; i += kLanes) {
            const Pack at = clusterglm::load(eta + i);
            const Row<Pack> row{at, lanes::exp(at), clusterglm::load(a + i), clusterglm::load(b + i)};
            const NodeTerms<Pack> t = R::template node<Unit>(row, Pack{}, all(1.0));
            product *= t.factor;
            store(value + i, R::kLinear ? t.additive + row.a * at : t.additive);
            store(G + i, t.G), store(H + i, t.H);
        }
        return product;
    }

    // Fills value, G and H; the sum of the values lacks what is returned. together: their sum alone is wanted, so that rows of 0
    // and 1 may share a logarithm.
    template <class R>
    CLUSTERGLM_INLINE double evaluate(bool together) {
        Pack low = clusterglm::load(eta), high = low;
        for (int i = kLanes; i < n; i += kLanes) {
            const Pack at = clusterglm::load(eta + i);
            low = at < low ? at : low, high = at > high ? at : high;
        }
        const Range range(low, high);
        if (!(range.low > -ClusterRows::kRange && range.high < ClusterRows::kRange)) {
            for (int j = 0; j < n; ++j) {
                const StableTerms t = R::stable(eta[j], a[j], b[j]);
                value[j] = t.value, G[j] = t.G, H[j] = t.H;
            }
            for (int j = n; j < padded(n); ++j) value[j] = G[j] = H[j] = 0.0;
        } else if (!R::kCollapses && together && n == kRows && Columns::kPacks * R::log_factor_bound(range.low, range.high) < 600.0) {
            return reduce(R::kUnitPower * lanes::log(terms<R, true>()));
        } else {
            terms<R, false>();
        }
        return 0.0;
    }
};

template <class R>
CLUSTERGLM_CLONES void pooled_block(const Problem& problem, const double* beta, int order, std::int64_t first, std::int64_t last, Sum& sum,
                                    double* cluster_sums) {
    Columns X(problem.p);
    ColumnSums sums(problem.p);
    PooledRows rows;
    if (cluster_sums) std::fill(cluster_sums + 2 * first, cluster_sums + 2 * last, 0.0);
    std::int64_t cluster = first;
    const std::int64_t end = problem.starts[last];
    for (std::int64_t start = problem.starts[first]; start < end; start += PooledRows::kRows) {
        const int n = static_cast<int>(std::min<std::int64_t>(PooledRows::kRows, end - start));
        rows.load(problem, start, n, beta, X);
        sum.value += rows.evaluate<R>(problem.unit && !problem.weighted);
        if (cluster_sums || problem.weighted)
            for (int j = 0; j < n;) {  // cluster by cluster
                const int border = static_cast<int>(std::min<std::int64_t>(problem.starts[cluster + 1] - start, n));
                double S1 = 0.0, S2 = 0.0;
                for (const double weight = problem.cluster_weights[cluster]; j < border; ++j) {
                    S1 += rows.G[j], S2 += rows.H[j];
                    rows.value[j] *= weight, rows.G[j] *= weight, rows.H[j] *= weight;
                }
                if (cluster_sums) cluster_sums[2 * cluster] += S1, cluster_sums[2 * cluster + 1] += S2;
                cluster += start + j == problem.starts[cluster + 1];
            }
        Pack value{};
        for (int i = 0; i < n; i += kLanes) value += load(rows.value + i);
        sum.value += reduce(value);
        if (order > 0) sums.add(X, padded(n) / kLanes, rows.G, order > 1 ? rows.H : nullptr);
    }
    sums.end(sum.score.data(), sum.hessian.data(), sum.stride);
}

template <class R>
bool pooled(const Problem& problem, const double* beta, int order, double* cluster_sums, int threads, Sum& total,
            const std::function<bool()>& interrupted) {
    return sum_over_blocks(
        problem, Selection{nullptr, problem.clusters}, problem.p, threads,
        [&](int, std::int64_t first, std::int64_t last, Sum& sum) { pooled_block<R>(problem, beta, order, first, last, sum, cluster_sums); },
        total, interrupted);
}

}  // namespace clusterglm
