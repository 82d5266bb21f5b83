// The marginal log-likelihood of many clusters: one evaluator per thread works through blocks of clusters and adds up.
#pragma once
#include <algorithm>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <vector>

#include "blocks.hpp"
#include "collapse.hpp"
#include "long.hpp"
#include "short.hpp"

namespace clusterglm {

// A function of its own, so that it is compiled once for both kinds of maps.
template <class R>
void evaluate_long(LongClusters<R>& clusters, std::int64_t i, double* modes, Sum& sum, const PerCluster& out) {
    clusters.add(i, modes, sum, out);
}

// Clusters that need their rows: short ones by fours of about equal size, then the long ones.
template <class R, class Map>
class ShortAndLong {
   public:
    ShortAndLong(const Problem& problem, const LocationMap& location, const Map& map, const Rule& rule, const double* theta, int order)
        : problem_(problem), short_(problem, map, rule, theta, order), long_(problem, {location, theta[problem.p]}, rule, theta, order) {
        while (worth_it(longest_ + 1, problem.p, rule.count)) ++longest_;
    }

    CLUSTERGLM_INLINE void add(std::vector<std::int64_t>& clusters, double* modes, Sum& sum, const PerCluster& out) {
        const auto rows = [&](std::int64_t i) { return problem_.starts[i + 1] - problem_.starts[i]; };
        sort_by_size(problem_, clusters);
        const auto count = static_cast<int>(clusters.size());
        int at = 0;
        while (at < count && rows(clusters[at]) <= longest_) ++at;
        short_.begin();
        for (int first = 0; first < at; first += kLanes) short_.add(&clusters[first], std::min(at - first, kLanes), modes, out);
        short_.end(sum);
        for (; at < count; ++at) evaluate_long<R>(long_, clusters[at], modes, sum, out);
    }

   private:
    const Problem& problem_;
    ShortClusters<R, Map> short_;
    LongClusters<R> long_;
    int longest_ = 0;  // rows of a short cluster

    // Time of the two, roughly: the Hessian of a short cluster is built in as many dimensions as it has rows.
    static bool worth_it(double n, double p, double K) {
        return n <= ShortClusters<R, Map>::kMostRows && 0.2 * n * n * (K + 10 + 2 * p) + 0.2 * n * p * p <= n * p * (K + 8 + 0.5 * p) + (p + 1) * (p + 1) * (0.5 * K + 5);
    }
};

// Both evaluators are compiled twice: for the linear map, which nearly every fit uses, and for all others.
template <class R, class Map>
using Evaluator = std::conditional_t<R::kCollapses, CollapsedClusters<R, Map>, ShortAndLong<R, Map>>;

// The sum over the selected clusters. modes: one per cluster of the problem, where searches start; updated.
template <class R>
bool evaluate(const Problem& problem, const LocationMap& location, const Rule& rule, const double* theta, int order, const Selection& selection,
              double* modes, const PerCluster& out, int threads, Sum& total, const std::function<bool()>& interrupted) {
    const auto with = [&]<class Map>(const Map& map) {
        std::vector<std::unique_ptr<Evaluator<R, Map>>> evaluators(static_cast<std::size_t>(worker_count(selection.count, threads)));
        return sum_over_blocks(
            problem, selection, problem.p + 1 + (kHasOwn<R> ? problem.own : 0), threads,
            [&](int worker, std::int64_t first, std::int64_t last, Sum& sum) {
                auto& evaluator = evaluators[worker];
                if (!evaluator) evaluator = std::make_unique<Evaluator<R, Map>>(problem, location, map, rule, theta, order);
                std::vector<std::int64_t> clusters(static_cast<std::size_t>(last - first));
                for (std::int64_t i = first; i < last; ++i) clusters[i - first] = selection[i];
                evaluator->add(clusters, modes, sum, out);
            },
            total, interrupted);
    };
    const double sigma = theta[problem.p];
    return location.linear() ? with(LinearMap(sigma)) : with(AnyMap(location, sigma));
}

}  // namespace clusterglm
