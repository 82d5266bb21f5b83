// Clusters in groups, so that lanes work on four intercepts at a time: every cluster has a lane of its own, or one long
// cluster spreads its rows over all lanes.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include "lanes.hpp"
#include "problem.hpp"
#include "response/row.hpp"
#include "rows.hpp"

namespace clusterglm {

class Group {
   public:
    static constexpr int kLong = 48;  // rows from which a cluster has the lanes for itself

    int count = 0;    // clusters
    int length = 0;   // rows a lane
    bool full = true;  // no lane has empty rows
    bool one = false;  // a single long cluster
    std::int64_t cluster[kLanes], start[kLanes];
    int size[kLanes];
    double sum_a[kLanes], sum_b[kLanes];
    double eta_low = 0.0, eta_high = 0.0;
    std::vector<double> eta, e, a, b, G, H;  // length x kLanes, empty rows have a = b = 0

    void load(const Problem& problem, const std::int64_t* clusters, int n, const double* beta) {
        count = n;
        one = n == 1 && problem.starts[clusters[0] + 1] - problem.starts[clusters[0]] >= kLong;
        int longest = 0, shortest = 0;
        for (int l = 0; l < n; ++l) {
            cluster[l] = clusters[l];
            start[l] = problem.starts[clusters[l]];
            size[l] = static_cast<int>(problem.starts[clusters[l] + 1] - start[l]);
            longest = l == 0 ? size[l] : std::max(longest, size[l]);
            shortest = l == 0 ? size[l] : std::min(shortest, size[l]);
            sum_a[l] = sum_b[l] = 0.0;
        }
        length = one ? padded(longest) / kLanes : longest;
        full = one ? length * kLanes == longest : n == kLanes && longest == shortest;
        const auto cells = static_cast<std::size_t>(length) * kLanes;
        if (eta.size() < cells)
            for (auto* v : {&eta, &e, &a, &b, &G, &H}) v->resize(cells);
        if (!full) {
            std::fill_n(eta.begin(), cells, 0.0);
            std::fill_n(a.begin(), cells, 0.0);
            std::fill_n(b.begin(), cells, 0.0);
        }
        eta_low = 1e300, eta_high = -1e300;
        for (int l = 0; l < n; ++l)
            for (int j = 0; j < size[l]; ++j) {
                const std::int64_t row = start[l] + j;
                const double at = problem.eta(row, beta);
                const int cell = index(l, j);
                eta[cell] = at, a[cell] = problem.a[row], b[cell] = problem.b[row];
                sum_a[l] += problem.a[row], sum_b[l] += problem.b[row];
                eta_low = std::min(eta_low, at), eta_high = std::max(eta_high, at);
            }
    }

    CLUSTERGLM_INLINE void exponentiate() {
        for (int j = 0; j < length; ++j) store(&e[cell(j)], lanes::exp(clusterglm::load(&eta[cell(j)])));
    }

    // Where row j of the cluster in lane l lies.
    int index(int l, int j) const { return one ? j : j * kLanes + l; }
    static std::size_t cell(int j) { return static_cast<std::size_t>(j) * kLanes; }

    // Sums over rows become sums over clusters.
    CLUSTERGLM_INLINE Pack total(Pack x) const { return one ? all(reduce(x)) : x; }

    CLUSTERGLM_INLINE Row<Pack> row(int j) const {
        const std::size_t at = cell(j);
        return {clusterglm::load(&eta[at]), clusterglm::load(&e[at]), clusterglm::load(&a[at]), clusterglm::load(&b[at])};
    }

    // Whether products of exponentials stay in range with these intercepts.
    CLUSTERGLM_INLINE bool in_range(Pack m) const {
        double far = 0.0;
        for (int l = 0; l < kLanes; ++l) far = std::max(far, std::fabs(m[l]));
        return far + std::max(std::fabs(eta_low), std::fabs(eta_high)) < ClusterRows::kRange;
    }
};

// The groups of the clusters first..last of one block, those of equal size together.
class Groups {
   public:
    Groups(const Problem& problem, std::int64_t first, std::int64_t last) : problem_(problem), order_(static_cast<std::size_t>(last - first)) {
        std::iota(order_.begin(), order_.end(), first);
        const auto shorter = [&](std::int64_t c, std::int64_t d) { return size(c) < size(d); };
        if (!std::is_sorted(order_.begin(), order_.end(), shorter)) std::stable_sort(order_.begin(), order_.end(), shorter);
    }

    // The next group's clusters and their number; 0 after the last.
    int next(const std::int64_t*& members) {
        if (at_ == order_.size()) return 0;
        members = &order_[at_];
        std::size_t n = 1;
        if (size(order_[at_]) < Group::kLong)
            while (n < kLanes && at_ + n < order_.size() && size(order_[at_ + n]) < Group::kLong) ++n;
        at_ += n;
        return static_cast<int>(n);
    }

   private:
    const Problem& problem_;
    std::vector<std::int64_t> order_;
    std::size_t at_ = 0;

    std::int64_t size(std::int64_t c) const { return problem_.starts[c + 1] - problem_.starts[c]; }
};

}  // namespace clusterglm
