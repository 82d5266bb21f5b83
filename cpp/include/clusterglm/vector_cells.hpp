// The rows of one cluster at the points of a set: what loops over them read, and where they leave the integrand and the rows' derivatives.
#pragma once
#include <cstdint>
#include <vector>

#include "vector_points.hpp"

namespace clusterglm {

template <class R, int D>
class VectorLoops;

class VectorCells {
   protected:
    template <class R, int D>
    friend class VectorLoops;

    VectorCells(const PointSet& points, int d, bool unit) : points_(points), d_(d), unit_(unit) {
        const auto K = static_cast<std::size_t>(points.size);
        q.resize(K), factor.resize(K), active_.resize(static_cast<std::size_t>(points.packs()));
    }

    const PointSet& points_;
    const int d_;
    const bool unit_;                            // rows of weight 1
    int stride_ = 0;                             // rows, with padding
    const double *a_ = nullptr, *b_ = nullptr;   // of rows
    std::vector<double> q, factor;               // of points: the integrand is factor e^q
    std::vector<double> along_, across_;         // exponentials: rows x points of the longest line, lines x rows
    std::size_t step_ = 0;                       // from row to row of the former; 0 where all rows have the same
    std::vector<double> base_, B_;               // of rows: lambda at the centre; d arrays of slopes in c
    std::vector<double> G_, H_, I_;              // of rows, derivatives at points: rows x points
    std::vector<std::int32_t> active_;           // packs of points that carry weight
    int actives_ = 0;
    bool fast_ = false;                          // no lambda is far
    double bound_ = 0.0, sum_a_base_ = 0.0, sum_a_B_[kMostEffects] = {};

    const double* slope(int t) const { return &B_[static_cast<std::size_t>(t) * stride_]; }
};

}  // namespace clusterglm
