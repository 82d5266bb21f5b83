// The log-likelihood without cluster effects, its score and Hessian, and per cluster the sums of the rows' derivatives.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "blocks.hpp"
#include "gram.hpp"
#include "rows.hpp"

namespace clusterglm {

// Rows in a row, whatever clusters they belong to.
class PooledRows {
   public:
    static constexpr int kRows = Columns::kRows;
    double value[kRows], G[kRows], H[kRows];  // of rows, and 0 in what is left of the last pack

    explicit PooledRows(const Problem& problem, const double* beta) : problem_(problem), beta_(beta) {}

    // Fills value, G and H of n rows, and X with their columns; the sum of the values lacks what is returned. together: their sum alone
    // is wanted, so that rows of 0 and 1 may share a logarithm.
    template <class R>
    CLUSTERGLM_INLINE double evaluate(std::int64_t start, int n, bool together, Columns& X) {
        read(start, n);
        Pack product = all(1.0);
        const bool share = R::kCollapses == 0 && together && n == kRows;
        if (share) product = load_and_evaluate<R, true>(start, n, X);
        else load_and_evaluate<R, false>(start, n, X);
        const Range range(low_, high_);
        if (!(range.low > -ClusterRows::kRange && range.high < ClusterRows::kRange)) {
            for (int j = 0; j < n; ++j) {
                const StableTerms t = R::stable(eta_[j], a_[j], b_[j]);
                value[j] = t.value, G[j] = t.G, H[j] = t.H;
            }
            return 0.0;
        }
        if (!share) return 0.0;
        if (Columns::kPacks * R::log_factor_bound(range.low, range.high) < 600.0) return reduce(lanes::log(product));
        for (int i = 0; i < n; i += kLanes) terms<R, false>(i, load(eta_ + i));  // the product may have left the range of doubles
        return 0.0;
    }

   private:
    const Problem& problem_;
    const double* beta_;
    const double *a_, *b_, *offset_;
    double eta_[kRows], last_[3][kRows];
    Pack low_, high_;

    // The data where they lie, or a copy with empty rows, a = b = 0, where the last pack is not full.
    void read(std::int64_t start, int n) {
        a_ = problem_.a + start, b_ = problem_.b + start, offset_ = problem_.offset + start;
        if (n % kLanes == 0) return;
        double* to = last_[0];
        for (const double** from : {&a_, &b_, &offset_}) {
            std::fill_n(std::copy_n(*from, n, to), padded(n) - n, 0.0);
            *from = to, to += kRows;
        }
    }

    // Value, G and H of four rows, and the factor that the value lacks.
    template <class R, bool Unit>
    CLUSTERGLM_INLINE Pack terms(int i, Pack eta) {
        const Row<Pack> row{eta, lanes::exp(eta), load(a_ + i), load(b_ + i)};
        const NodeTerms<Pack> t = R::template node<Unit>(row, Pack{}, all(1.0));
        store(value + i, R::kLinear ? t.additive + row.a * eta : t.additive);
        store(G + i, t.G), store(H + i, t.H);
        return t.factor;
    }

    // All of them, supposed to be in range, and the product of the factors.
    template <class R, bool Unit>
    CLUSTERGLM_INLINE Pack load_and_evaluate(std::int64_t start, int n, Columns& X) {
        Pack product = all(1.0), low = all(1e300), high = all(-1e300);
        X.by_four(problem_.X + start * problem_.p, n, [&](int i, const FourRows& row) CLUSTERGLM_INLINE_LAMBDA {
            const Pack eta = X.set(i, row, beta_, load(offset_ + i * kLanes));
            store(eta_ + i * kLanes, eta);
            low = eta < low ? eta : low, high = eta > high ? eta : high;
            product *= terms<R, Unit>(i * kLanes, eta);
        });
        low_ = low, high_ = high;
        return product;
    }
};

template <class R>
void pooled_block(const Problem& problem, const double* beta, int order, std::int64_t first, std::int64_t last, Sum& sum,
                  double* cluster_sums) {
    Columns X(problem.p);
    ColumnSums sums(problem.p);
    PooledRows rows(problem, beta);
    if (cluster_sums) std::fill(cluster_sums + 2 * first, cluster_sums + 2 * last, 0.0);
    std::int64_t cluster = first;
    const std::int64_t end = problem.starts[last];
    for (std::int64_t start = problem.starts[first]; start < end; start += PooledRows::kRows) {
        const int n = static_cast<int>(std::min<std::int64_t>(PooledRows::kRows, end - start));
        checkpoint(static_cast<std::int64_t>(n) * (1 + problem.p));
        sum.value += rows.evaluate<R>(start, n, problem.unit && !problem.weighted, X);
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
