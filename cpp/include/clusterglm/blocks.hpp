// Clusters in blocks whose borders depend on the data alone, so that sums are the same bits for any number of threads.
#pragma once
#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

#include "lanes.hpp"
#include "parallel.hpp"
#include "problem.hpp"

namespace clusterglm {

// Some clusters of a problem, by number; null means all of them.
struct Selection {
    const std::int64_t* clusters;
    std::int64_t count;
    std::int64_t operator[](std::int64_t i) const { return clusters ? clusters[i] : i; }
};

// Optional results per cluster; null where not wanted.
struct PerCluster {
    double* values = nullptr;      // clusters: weighted log-likelihood
    double* scores = nullptr;      // clusters x q: its score
    double* ends = nullptr;        // clusters: share of the integral at the outermost nodes
    double* posterior = nullptr;   // clusters x 2: mean and standard deviation of the intercept
    double* omegas = nullptr;      // clusters: unit in which nodes that follow a cluster lie about its mode; left alone by others
};

// Borders of blocks with at most 128 clusters and, unless one cluster is larger, about 4,096 rows.
inline std::vector<std::int64_t> block_borders(const Problem& problem, const Selection& selection) {
    constexpr std::int64_t kClusters = 128, kRows = 4096;
    std::vector<std::int64_t> borders{0};
    std::int64_t rows = 0;
    for (std::int64_t i = 0; i < selection.count; ++i) {
        const std::int64_t c = selection[i];
        rows += problem.starts[c + 1] - problem.starts[c];
        if (i + 1 - borders.back() == kClusters || rows >= kRows || i + 1 == selection.count) {
            borders.push_back(i + 1);
            rows = 0;
        }
    }
    return borders;
}

inline void sort_by_size(const Problem& problem, std::vector<std::int64_t>& clusters) {
    const auto rows = [&](std::int64_t i) { return problem.starts[i + 1] - problem.starts[i]; };
    const auto fewer_rows = [&](std::int64_t i, std::int64_t k) { return rows(i) < rows(k); };
    if (!std::is_sorted(clusters.begin(), clusters.end(), fewer_rows)) std::stable_sort(clusters.begin(), clusters.end(), fewer_rows);
}

struct Sum {
    int q, stride;
    double value = 0.0;
    std::vector<double> score, hessian;  // stride, and q rows of `stride` of which the lower triangle counts

    explicit Sum(int parameters)
        : q(parameters), stride(padded(parameters)), score(stride, 0.0), hessian(static_cast<std::size_t>(parameters) * stride, 0.0) {}

    // The whole symmetric Hessian, q x q.
    void copy_hessian(double* out) const {
        for (int r = 0; r < q; ++r)
            for (int s = 0; s <= r; ++s) out[r * q + s] = out[s * q + r] = hessian[static_cast<std::size_t>(r) * stride + s];
    }
};

// Runs body(worker, first, last, sum) over all blocks; the blocks' sums are added in order, with their rounding errors.
// Returns false if interrupted.
template <class Body>
bool sum_over_blocks(const Problem& problem, const Selection& selection, int q, int threads, const Body& body, Sum& total,
                     const std::function<bool()>& interrupted) {
    const std::vector<std::int64_t> borders = block_borders(problem, selection);
    const auto blocks = static_cast<std::int64_t>(borders.size()) - 1;
    std::vector<Sum> sums(static_cast<std::size_t>(blocks), Sum(q));
    if (!for_blocks(
            blocks, threads, [&](int worker, std::int64_t block) { body(worker, borders[block], borders[block + 1], sums[block]); }, interrupted))
        return false;
    CompensatedSum value;
    for (const Sum& sum : sums) {
        value.add(sum.value);
        for (std::size_t r = 0; r < sum.score.size(); ++r) total.score[r] += sum.score[r];
        for (std::size_t r = 0; r < sum.hessian.size(); ++r) total.hessian[r] += sum.hessian[r];
    }
    total.value = value.value();
    return true;
}

}  // namespace clusterglm
