// Four clusters side by side, in order of size, and a row of each of them at a time.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "lanes.hpp"
#include "problem.hpp"

namespace clusterglm {

using FourRows = std::array<const double*, kLanes>;

// body(r, column) for every column r of four rows of p numbers. P: the same if the compiler is to know, or 0.
template <int P, class Body>
CLUSTERGLM_INLINE void each_column(const FourRows& row, int p, const Body& body) {
    if constexpr (P > 0) p = P;
    int r = 0;
    for (; r + 2 <= p; r += 2) {
        Pack x, y;
        two_columns(row[0] + r, row[1] + r, row[2] + r, row[3] + r, x, y);
        body(r, x), body(r + 1, y);
    }
    if (r < p) body(r, Pack{row[0][r], row[1][r], row[2][r], row[3][r]});
}

class FourClusters {
   public:
    std::int64_t cluster[kLanes];
    int n = 0, common = 0;  // rows of the largest, and of the smallest
    Pack weight, mode;

    explicit FourClusters(const Problem& problem) : problem_(problem), nothing_(static_cast<std::size_t>(problem.p)) {}

    // `count` <= 4 of them; a lane left over repeats the last with weight 0.
    CLUSTERGLM_INLINE void take(const std::int64_t* clusters, int count, const double* modes) {
        for (int l = 0; l < kLanes; ++l) {
            cluster[l] = clusters[std::min(l, count - 1)];
            start_[l] = problem_.starts[cluster[l]], end_[l] = problem_.starts[cluster[l] + 1];
            mode[l] = modes[cluster[l]];
            weight[l] = l < count ? problem_.cluster_weights[cluster[l]] : 0.0;
        }
        common = static_cast<int>(end_[0] - start_[0]);
        n = static_cast<int>(end_[kLanes - 1] - start_[kLanes - 1]);
    }

    // Where row j of each cluster lies: zeros where it has none.
    CLUSTERGLM_INLINE FourRows rows(int j) const {
        FourRows x;
        for (int l = 0; l < kLanes; ++l) x[l] = j < common || start_[l] + j < end_[l] ? problem_.X + (start_[l] + j) * problem_.p : nothing_.data();
        return x;
    }

    // a, b and offset of row j of each cluster; they are left as they are where it has no row.
    CLUSTERGLM_INLINE void read(int j, Pack& a, Pack& b, Pack& offset) const {
        const auto lane = [&](int l) CLUSTERGLM_INLINE_LAMBDA {
            const std::int64_t row = start_[l] + j;
            a[l] = problem_.a[row], b[l] = problem_.b[row], offset[l] = problem_.offset[row];
        };
        if (j < common)
            for (int l = 0; l < kLanes; ++l) lane(l);
        else
            for (int l = 0; l < kLanes; ++l)
                if (start_[l] + j < end_[l]) lane(l);
    }

   private:
    const Problem& problem_;
    std::int64_t start_[kLanes], end_[kLanes];
    std::vector<double> nothing_;
};

}  // namespace clusterglm
