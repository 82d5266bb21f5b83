// The marginal log-likelihood of many clusters: one evaluator per thread works through blocks of clusters and adds up.
#pragma once
#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <type_traits>
#include <vector>

#include "blocks.hpp"
#include "collapse.hpp"
#include "long.hpp"
#include "short.hpp"

namespace clusterglm {

// A function of its own, so that it is compiled once for both kinds of maps.
template <int J>
void evaluate_long(LongClusters<J>& clusters, std::int64_t i, double* modes, Sum& sum, const PerCluster& out) {
    clusters.add(i, modes, sum, out);
}

// Clusters that need their rows: short ones by fours of about equal size, then the long ones.
template <class Map, int J>
class ShortAndLong {
   public:
    ShortAndLong(const InterceptLoops& kernel, const Problem& problem, const LocationMap& location, const Map& map, const Rule& rule, const double* theta,
                 int order)
        : problem_(problem), short_(kernel, problem, map, rule, theta, order),
          long_(kernel, problem, {location, theta[problem.p]}, rule, theta, order) {
        while (worth_it(longest_ + 1, problem.p, rule.count)) ++longest_;
    }

    void add(std::vector<std::int64_t>& clusters, double* modes, Sum& sum, const PerCluster& out) {
        const auto rows = [&](std::int64_t i) { return problem_.starts[i + 1] - problem_.starts[i]; };
        sort_by_size(problem_, clusters);
        const auto count = static_cast<int>(clusters.size());
        int at = 0;
        while (at < count && rows(clusters[at]) <= longest_) ++at;
        short_.begin();
        for (int first = 0; first < at; first += kLanes) short_.add(&clusters[first], std::min(at - first, kLanes), modes, out);
        short_.end(sum);
        for (; at < count; ++at) evaluate_long<J>(long_, clusters[at], modes, sum, out);
    }

   private:
    const Problem& problem_;
    ShortClusters<Map, J> short_;
    LongClusters<J> long_;
    int longest_ = 0;  // rows of a short cluster

    // Time of the two, roughly: the Hessian of a short cluster is built in as many dimensions as it has rows.
    static bool worth_it(double n, double p, double K) {
        return n <= ShortClusters<Map, J>::kMostRows && 0.2 * n * n * (K + 10 + 2 * p) + 0.2 * n * p * p <= n * p * (K + 8 + 0.5 * p) + (p + 1) * (p + 1) * (0.5 * K + 5);
    }
};

// The sum over the selected clusters. modes: one per cluster of the problem, where searches start; updated.
inline bool evaluate(const InterceptLoops& kernel, const Problem& problem, const LocationMap& location, const Rule& rule, const double* theta, int order,
                     const Selection& selection, double* modes, const PerCluster& out, int threads, Sum& total,
                     const std::function<bool()>& interrupted) {
    const auto by = [&]<class Evaluator, class Map>(std::type_identity<Evaluator>, const Map& map) {
        std::vector<std::unique_ptr<Evaluator>> evaluators(static_cast<std::size_t>(worker_count(selection.count, threads)));
        return sum_over_blocks(
            problem, selection, problem.p + 1 + (kernel.own_numbers > 0 ? problem.own : 0), threads,
            [&](int worker, std::int64_t first, std::int64_t last, Sum& sum) {
                auto& evaluator = evaluators[worker];
                if (!evaluator) evaluator = std::make_unique<Evaluator>(kernel, problem, location, map, rule, theta, order);
                std::vector<std::int64_t> clusters(static_cast<std::size_t>(last - first));
                for (std::int64_t i = first; i < last; ++i) clusters[i - first] = selection[i];
                evaluator->add(clusters, modes, sum, out);
            },
            total, interrupted);
    };
    // Everything is compiled twice: for the linear map, which nearly every fit uses, and for all others.
    const auto with = [&]<class Map>(const Map& map) {
        if (kernel.collapses > 0) return by(std::type_identity<CollapsedClusters<Map, 1>>{}, map);
        if (kernel.collapses < 0) return by(std::type_identity<CollapsedClusters<Map, -1>>{}, map);
        if (kernel.own_numbers == 0) return by(std::type_identity<ShortAndLong<Map, 0>>{}, map);
        if (kernel.own_numbers == 1) return by(std::type_identity<ShortAndLong<Map, 1>>{}, map);
        return by(std::type_identity<ShortAndLong<Map, 2>>{}, map);
    };
    const double sigma = theta[problem.p];
    return location.linear() ? with(LinearMap(sigma)) : with(AnyMap(location, sigma));
}

}  // namespace clusterglm
