// The rows of one child at the points of its unit and its own: what loops over them read, and where they leave the integrand. Lanes run over
// the points of the unit. Cells are packs: of cell (l, k), l a point of the child and k a pack of points of the unit, the number is
// l * packs + k.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "lanes.hpp"
#include "vector_points.hpp"

namespace clusterglm {

// A set without the padding of its lines: d arrays of `size`, whole packs.
struct LevelPoints {
    int d, count = 0, size;
    std::vector<double> c, log_weight;
    double reach[kMostEffects] = {};

    explicit LevelPoints(const PointSet& set) : d(set.d), size(padded(set.count)) {
        c.assign(static_cast<std::size_t>(d) * size, 0.0), log_weight.assign(static_cast<std::size_t>(size), -1e300);
        for (int k = 0; k < set.size; ++k) {
            if (set.kind[k] < 0) continue;
            for (int t = 0; t < d; ++t) {
                c[static_cast<std::size_t>(t) * size + count] = set.coordinate(t)[k];
                reach[t] = std::max(reach[t], std::fabs(set.coordinate(t)[k]));
            }
            log_weight[count++] = set.log_weight[k];
        }
    }
    int packs() const { return size / kLanes; }
    const double* coordinate(int t) const { return &c[static_cast<std::size_t>(t) * size]; }
};

template <class R>
class NestedLoops;

class NestedCells {
   protected:
    template <class R>
    friend class NestedLoops;

    NestedCells(const PointSet& upper, const PointSet& lower, int effects, bool unit)
        : upper_(upper), lower_(lower), packs_(upper_.packs()), d2_(effects), unit_(unit), K_(static_cast<std::size_t>(packs_) * lower_.count) {
        vk_.resize(static_cast<std::size_t>(upper_.size) * d2_), vl_.resize(static_cast<std::size_t>(lower_.size) * d2_);
        q2_.resize(K_ * kLanes), factor_.resize(K_ * kLanes);
        lin1_.resize(static_cast<std::size_t>(upper_.size)), lin2_.resize(static_cast<std::size_t>(lower_.size));
    }

    const LevelPoints upper_, lower_;
    const int packs_, d2_;
    const bool unit_;                                  // rows of weight 1
    const std::size_t K_;                              // cells
    const double *a_ = nullptr, *b_ = nullptr;         // of the child's rows
    std::vector<double> vk_, vl_;                      // v = vk + vl, arrays over points of the unit, and over the child's own
    std::vector<double> q2_, factor_;                  // of cells: the integrand is factor e^q
    std::vector<double> lin1_, lin2_;                  // sum of a lambda, as the sum of both
    std::vector<double> lambda1_, e1_, lambda2_, e2_;  // rows x points: its parts, and their exponentials
    bool fast_ = false;                                // no lambda is far
    double bound_ = 0.0;

    const double* vk(int t) const { return &vk_[static_cast<std::size_t>(t) * upper_.size]; }
    const double* vl(int t) const { return &vl_[static_cast<std::size_t>(t) * lower_.size]; }
    // v_t at cell (l, k).
    CLUSTERGLM_INLINE Pack v(int t, int l, int k) const { return load(vk(t) + k * kLanes) + vl(t)[l]; }
    // log-weight and prior of a cell.
    CLUSTERGLM_INLINE Pack prior(int l, int k) const {
        Pack square{};
        for (int t = 0; t < d2_; ++t) {
            const Pack at = v(t, l, k);
            square += at * at;
        }
        return lower_.log_weight[l] - 0.5 * square;
    }
};

}  // namespace clusterglm
