// The log-integrand of clusters at points of their own: what a rule is judged by that does not know where a cluster's integral lies.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "blocks.hpp"
#include "maps.hpp"
#include "nodes.hpp"
#include "rows.hpp"

namespace clusterglm {

// Makes one row of a cluster's rows where the response allows it (collapse.hpp); returns what the log-likelihood loses by that.
template <class R>
double collapse(ClusterRows& rows) {
    if constexpr (R::kCollapses == 0) return 0.0;
    constexpr double kSign = R::kCollapses;
    const int n = rows.n;
    double top = kSign * rows.eta[0];
    for (int j = 1; j < n; ++j) top = std::max(top, kSign * rows.eta[j]);
    double a = 0.0, a_eta = 0.0, exposure = 0.0;
    for (int j = 0; j < n; ++j) {
        const double eta = kSign * rows.eta[j];
        a += rows.a[j], a_eta += rows.a[j] * eta, exposure += rows.b[j] * std::exp(eta - top);
    }
    const double kappa = top + std::log(exposure);
    rows.resize(1);
    rows.eta[0] = kSign * kappa, rows.a[0] = a, rows.b[0] = 1.0;
    return a_eta - a * kappa;
}

// g(s) without the cluster's weight at `count` points of each selected cluster: rows of `points`, and of `out`.
template <class R>
bool integrands(const Problem& problem, const LocationMap& location, const double* theta, const Selection& selection, const double* points, int count,
                double* out, int threads, const std::function<bool()>& interrupted) {
    const AnyMap map(location, theta[problem.p]);
    struct Worker {
        ClusterRows rows;
        Nodes nodes;
        explicit Worker(int points) : nodes(points, 1) {}
    };
    std::vector<std::unique_ptr<Worker>> workers(static_cast<std::size_t>(std::max(threads, 1)));
    const std::vector<std::int64_t> borders = block_borders(problem, selection);
    return for_blocks(
        static_cast<std::int64_t>(borders.size()) - 1, threads,
        [&](int worker, std::int64_t block) {
            auto& own = workers[worker];
            if (!own) own = std::make_unique<Worker>(count);
            Nodes& nodes = own->nodes;
            for (std::int64_t i = borders[block]; i < borders[block + 1]; ++i) {
                load_cluster(own->rows, problem, selection[i], theta);
                const double lost = collapse<R>(own->rows);
                own->rows.finish();
                for (int k = 0; k < nodes.size; ++k) nodes.s[k] = points[i * count + std::min(k, count - 1)];
                nodes.locate(map);
                all_nodes<R, 0>(
                    own->rows, 0, own->rows.n, false, nodes, nullptr, nullptr, [&](int k) { return NodeSums{load(nodes.a + k)}; },
                    [&](int k, const NodeSums& sums) { store(nodes.q + k, sums.log_p); });
                for (int k = 0; k < count; ++k) out[i * count + k] = nodes.q[k] + lost;
            }
        },
        interrupted);
}

}  // namespace clusterglm
