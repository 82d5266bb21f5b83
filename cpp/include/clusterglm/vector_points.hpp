// Points about which the integral over several effects of a cluster is a sum, as lines along the last coordinate.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "lanes.hpp"

namespace clusterglm {

// Effects of one grouping factor.
inline constexpr int kMostEffects = 8;

// The integral of phi(u) f(u) is about |det F| times the sum of exp(log_weight) exp(-u'u/2) f(u), u = centre + F c. Points that follow one
// another and differ in the last coordinate alone are a line. If the last coordinates of every line are a part of those of the longest,
// exponentials of linear predictors are products of few numbers (`tables`). Padding has no weight.
struct PointSet {
    int d = 0, count = 0, size = 0;          // effects; points; the same with padding
    bool tables = false;
    std::vector<double> c, log_weight;       // d arrays of `size`, and one
    std::vector<double> last, first;         // the longest line, padded; of each line its other coordinates, d - 1 arrays of `lines`
    std::vector<std::int32_t> line, place;   // of each pack: its line, and where in `last` it begins
    int lines = 0;                           // padded
    double reach[kMostEffects] = {};         // largest |c|
    std::vector<std::int32_t> kind;          // of each point, -1 for padding
    int kinds = 1;

    PointSet(int effects, int points, const double* at, const double* log_weights, const std::int64_t* kinds_of_points) : d(effects), count(points) {
        std::vector<int> starts;
        for (int k = 0; k < points; ++k)
            if (k == 0 || !std::equal(at + k * d, at + k * d + d - 1, at + (k - 1) * d)) starts.push_back(k);
        starts.push_back(points);
        const int found = static_cast<int>(starts.size()) - 1;
        std::vector<int> begins(static_cast<std::size_t>(found));
        int longest = 0;
        for (int l = 0; l < found; ++l)
            if (starts[l + 1] - starts[l] > starts[longest + 1] - starts[longest]) longest = l;
        for (int k = starts[longest]; k < starts[longest + 1]; ++k) last.push_back(at[k * d + d - 1]);
        const int width = static_cast<int>(last.size());
        tables = width >= kLanes;
        for (int l = 0; l < found && tables; ++l) {
            const int length = starts[l + 1] - starts[l];
            const auto fits = [&](int begin) {
                for (int k = 0; k < length; ++k)
                    if (last[begin + k] != at[(starts[l] + k) * d + d - 1]) return false;
                return true;
            };
            int begin = 0;
            while (begin + length <= width && !fits(begin)) ++begin;
            tables = begin + length <= width;
            begins[l] = begin;
        }
        if (!tables) starts = {0, points}, begins = {0};
        const int runs = static_cast<int>(starts.size()) - 1;
        int reached = 0;
        for (int l = 0; l < runs; ++l) {
            const int length = padded(starts[l + 1] - starts[l]);
            size += length, reached = std::max(reached, begins[l] + length);
        }
        last.resize(static_cast<std::size_t>(padded(reached)), 0.0);
        c.assign(static_cast<std::size_t>(d) * size, 0.0), log_weight.assign(size, -1e300), kind.assign(size, -1);
        lines = padded(runs), first.assign(static_cast<std::size_t>(d) * lines, 0.0);
        int to = 0;
        for (int l = 0; l < runs; ++l) {
            const int length = starts[l + 1] - starts[l];
            for (int t = 0; t + 1 < d; ++t) first[t * lines + l] = at[starts[l] * d + t];
            for (int k = 0; k < padded(length); ++k, ++to) {
                if (k % kLanes == 0) line.push_back(l), place.push_back(begins[l] + k);
                const int from = starts[l] + k;
                const bool real = k < length;
                for (int t = 0; t < d; ++t) {
                    double x = real ? at[from * d + t] : 0.0;
                    if (!real && tables) x = t + 1 < d ? at[starts[l] * d + t] : last[begins[l] + k];
                    c[t * size + to] = x;
                    reach[t] = std::max(reach[t], std::fabs(x));
                }
                if (!real) continue;
                log_weight[to] = log_weights[from];
                kind[to] = kinds_of_points ? static_cast<std::int32_t>(kinds_of_points[from]) : 0;
                kinds = std::max(kinds, kind[to] + 1);
            }
        }
    }

    int packs() const { return size / kLanes; }
    const double* coordinate(int t) const { return &c[static_cast<std::size_t>(t) * size]; }
};

// Lower-triangular d x d matrices, rows `kMostEffects` apart, of at most kMostEffects rows.
struct Small {
    double at[kMostEffects][kMostEffects] = {};
    double* operator[](int r) { return at[r]; }
    const double* operator[](int r) const { return at[r]; }
};

// C of S = C C'; false where S is not positive definite.
inline bool cholesky(const Small& S, int d, Small& C) {
    for (int r = 0; r < d; ++r)
        for (int s = 0; s <= r; ++s) {
            double sum = S[r][s];
            for (int t = 0; t < s; ++t) sum -= C[r][t] * C[s][t];
            if (s < r) {
                C[r][s] = sum / C[s][s];
            } else {
                if (!(sum > 0.0)) return false;
                C[r][r] = std::sqrt(sum);
            }
        }
    return true;
}

// R = C^-T, upper triangular: R R' = S^-1.
inline void inverse_transposed(const Small& C, int d, Small& R) {
    R = {};
    for (int r = 0; r < d; ++r) {
        R[r][r] = 1.0 / C[r][r];
        for (int s = r + 1; s < d; ++s) {
            double sum = 0.0;
            for (int t = r; t < s; ++t) sum -= C[s][t] * R[r][t];
            R[r][s] = sum / C[s][s];
        }
    }
}

}  // namespace clusterglm
