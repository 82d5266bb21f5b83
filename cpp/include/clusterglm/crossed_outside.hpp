// Effects outside of units, which cross them: what rows and units have to do with them.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "lanes.hpp"

namespace clusterglm {

// Row j of a unit adds slopes[j]'v to lambda, of `width` outside effects each. A unit touches some effects, `touched`, in ascending order, whose
// places in the matrix of its component (connected outside effects) are given; `local` says which of them each row's slopes belong to.
struct Outside {
    int width;
    const std::int32_t* local;     // rows x width
    const double* slopes;          // rows x width
    const std::int64_t* starts;    // units + 1
    const std::int32_t* touched;   // places within the component
    const std::int64_t* matrix;    // units: where the component's square matrix begins
    const std::int64_t* size;      // units: its order

    int count(std::int64_t unit) const { return static_cast<int>(starts[unit + 1] - starts[unit]); }

    // body(a, to, at) for the touched effects whose rows of the component's matrix are low..high: where the row begins, and the places of the
    // touched effects in it; null where these lie side by side from `to` on, as where a unit touches all effects.
    template <class Body>
    CLUSTERGLM_INLINE void each_touched(std::int64_t unit, std::int64_t low, std::int64_t high, double* matrix, const Body& body) const {
        const int c = count(unit);
        const std::int32_t* at = touched + starts[unit];
        const bool side_by_side = at[c - 1] - at[0] == c - 1;
        for (int a = static_cast<int>(std::lower_bound(at, at + c, low) - at); a < c && at[a] < high; ++a) {
            double* to = matrix + at[a] * size[unit];
            side_by_side ? body(a, to + at[0], nullptr) : body(a, to, at);
        }
    }
};

// What a pass is for. Rows' results are weighted with the unit's weight.
enum class CrossedTask {
    kValue,      // values
    kScore,      // rows: E[G]; entries: derivatives in those of L
    kCurvature,  // blocks: of second derivatives in the touched effects
    kContract,   // rows: half the derivative, in lambda, of the trace of given matrices times the second derivatives; entries; direct
    kDirection   // rows: derivative of E[G] along a change of rows' lambda; entries
};

// Of units and rows of the problem; null where not wanted.
struct CrossedOutputs {
    double* values = nullptr;   // units: weighted log-integral, or the summit of the log-integrand
    double* logs = nullptr;     // units: -1/2 of the weighted log-determinant of the curvature, where only the summit is used
    double* rows = nullptr;     // rows
    double* pulls = nullptr;    // rows: what pulls the outside effects, where only the summit is used
    double* entries = nullptr;  // units x free entries of L
    double* direct = nullptr;   // rows x width: derivatives in the outside factors, but for z
    double* first = nullptr;    // rows: E[G] (kContract)
    // Of kContract where asked for, without weights: what the data say of the unit's own effects at given ones outside.
    double* means = nullptr;        // units x d: means, or modes where only the summit is used
    double* covariances = nullptr;  // units x d x d
    double* spreads = nullptr;      // units x d x d: what the given matrices, as covariances of the effects outside, add to these
    double* follows = nullptr;      // touched effects x d: derivatives of the means
    double* bends = nullptr;        // units x d: half the trace of the given matrices times the second derivatives of the means
};

struct CrossedInputs {
    CrossedTask task;
    const double* matrices = nullptr;   // symmetric, of all components one after another; lower triangles are enough (kContract)
    const double* direction = nullptr;  // rows (kDirection)
    const double* kappa = nullptr;      // rows of an earlier kContract, where only the summit is used (kDirection)
    double* kept = nullptr;             // G of all rows, and then H, where only the summit is used: kContract and kDirection leave them,
    bool known = false;                 // and kDirection finds them where the same effects were looked at before
};

// What outside effects add to the rows' lambda, beside an offset; columns: rows x width, their places in v.
inline void spread(std::int64_t rows, int width, const std::int32_t* columns, const double* slopes, const double* v, const double* offset, double* to) {
    for (std::int64_t j = 0; j < rows; ++j) {
        double sum = 0.0;
        for (int w = 0; w < width; ++w) sum += slopes[j * width + w] * v[columns[j * width + w]];
        to[j] = offset ? offset[j] + sum : sum;
    }
}

// Effects' sums of rows' slopes times `by`.
inline void gather(std::int64_t rows, int width, const std::int32_t* columns, const double* slopes, const double* by, double* to) {
    for (std::int64_t j = 0; j < rows; ++j)
        for (int w = 0; w < width; ++w) to[columns[j * width + w]] += slopes[j * width + w] * by[j];
}

// The touched parts of the components' symmetric matrices, rows `padded` apart; of the matrices lower triangles are looked at. Units that
// touch the same effects as the one before, as all do where the factors cross completely, find theirs ready.
class TouchedPart {
   public:
    const std::vector<double>& of(const Outside& outside, std::int64_t unit, const double* matrices) {
        const int c = outside.count(unit), stride = padded(c);
        const std::int32_t* at = outside.touched + outside.starts[unit];
        const bool same = last_ >= 0 && outside.count(last_) == c && outside.matrix[last_] == outside.matrix[unit] &&
                          std::equal(at, at + c, outside.touched + outside.starts[last_]);
        last_ = unit;
        if (same) return P_;
        const double* from = matrices + outside.matrix[unit];
        if (P_.size() < static_cast<std::size_t>(c) * stride) P_.resize(static_cast<std::size_t>(c) * stride);
        for (int a = 0; a < c; ++a) {
            const double* row = from + at[a] * outside.size[unit];
            double* to = &P_[static_cast<std::size_t>(a) * stride];
            for (int b = 0; b < a; ++b) to[b] = P_[static_cast<std::size_t>(b) * stride + a] = row[at[b]];
            to[a] = row[at[a]];
            for (int b = c; b < stride; ++b) to[b] = 0.0;
        }
        return P_;
    }

   private:
    std::int64_t last_ = -1;
    std::vector<double> P_;
};

// block += weight B' diag(h) B of some rows, its lower triangle.
inline void add_rows_squares(const Outside& outside, std::int64_t first, int n, const double* h, double* block, int stride) {
    for (int j = 0; j < n; ++j) {
        const std::int32_t* at = outside.local + (first + j) * outside.width;
        const double* b = outside.slopes + (first + j) * outside.width;
        for (int w = 0; w < outside.width; ++w)
            for (int x = 0; x < outside.width; ++x)
                if (at[w] >= at[x]) block[static_cast<std::size_t>(at[w]) * stride + at[x]] += h[j] * b[w] * b[x];
    }
}

}  // namespace clusterglm
