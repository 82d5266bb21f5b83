// The log-likelihood without cluster effects, its score and Hessian, and per cluster the sums of the rows' derivatives.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "blocks.hpp"
#include "gram.hpp"
#include "rows.hpp"

namespace clusterglm {

template <class R>
CLUSTERGLM_CLONES void pooled_block(const Problem& problem, const double* beta, int order, std::int64_t first, std::int64_t last, Sum& sum,
                                    double* cluster_sums) {
    constexpr int kChunk = 64;  // rows at a time, whatever clusters they belong to
    const int p = problem.p, stride = sum.stride;
    std::vector<double> X(static_cast<std::size_t>(kChunk) * stride), HX(X.size());
    double eta[kChunk], a[kChunk], b[kChunk], value[kChunk], G[kChunk], H[kChunk], weight[kChunk];
    if (cluster_sums) std::fill(cluster_sums + 2 * first, cluster_sums + 2 * last, 0.0);
    std::int64_t cluster = first;
    for (std::int64_t start = problem.starts[first]; start < problem.starts[last]; start += kChunk) {
        const int n = static_cast<int>(std::min<std::int64_t>(kChunk, problem.starts[last] - start)), size = padded(n);
        bool fast = true;
        for (int j = 0; j < n; ++j) {
            eta[j] = problem.eta(start + j, beta), a[j] = problem.a[start + j], b[j] = problem.b[start + j];
            fast = fast && std::fabs(eta[j]) < ClusterRows::kRange;
        }
        for (int j = n; j < size; ++j) eta[j] = a[j] = b[j] = 0.0;
        if (fast) {
            for (int j = 0; j < size; j += kLanes) {
                const Pack at = load(eta + j);
                const Row<Pack> row{at, lanes::exp(at), load(a + j), load(b + j)};
                const NodeTerms<Pack> t = R::template node<false>(row, Pack{}, all(1.0));
                store(value + j, R::kLinear ? t.additive + row.a * at : t.additive);
                store(G + j, t.G), store(H + j, t.H);
            }
        } else {
            for (int j = 0; j < n; ++j) {
                const StableTerms t = R::stable(eta[j], a[j], b[j]);
                value[j] = t.value, G[j] = t.G, H[j] = t.H;
            }
        }
        for (int j = 0; j < n; ++j) {
            while (start + j >= problem.starts[cluster + 1]) ++cluster;
            weight[j] = problem.cluster_weights[cluster];
            sum.value += weight[j] * value[j];
            if (cluster_sums) cluster_sums[2 * cluster] += G[j], cluster_sums[2 * cluster + 1] += H[j];
        }
        if (order == 0) continue;
        for (int j = 0; j < n; ++j) G[j] *= weight[j], H[j] *= weight[j];
        copy_rows(problem.X + start * p, n, p, stride, X.data());
        add_rows(X.data(), G, n, stride, sum.score.data());
        if (order < 2) continue;
        for (int j = 0; j < n; ++j)
            for (int v = 0; v < stride; v += kLanes) store(&HX[j * stride + v], H[j] * load(&X[j * stride + v]));
        add_products(X.data(), HX.data(), n, p, stride, sum.hessian.data());
    }
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
