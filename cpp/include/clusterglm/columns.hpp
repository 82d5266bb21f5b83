// Columns of a table become the rows of a matrix, and their ranges are seen on the way.
#pragma once
#include <algorithm>
#include <cstdint>
#include <limits>

#include "lanes.hpp"

namespace clusterglm {

inline constexpr std::int64_t kColumnRows = 512;  // at a time, so that their numbers stay in the cache until they are looked at
inline constexpr int kColumnsAtOnce = 8;          // in one loop over rows, whose addresses registers can hold

// Least and largest value of `count` numbers and of what was there before; NaN once a number is NaN.
CLUSTERGLM_INLINE void widen(const double* from, std::int64_t count, double& low, double& high) {
    Pack lows = all(low), highs = all(high);
    PackMask undefined = lows != lows;
    std::int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
        const Pack x = load(from + i);
        lows = x < lows ? x : lows, highs = x > highs ? x : highs, undefined |= x != x;
    }
    low = lows[0], high = highs[0];
    for (int l = 1; l < kLanes; ++l) low = std::min(low, lows[l]), high = std::max(high, highs[l]);
    bool any = undefined[0] || undefined[1] || undefined[2] || undefined[3];
    for (; i < count; ++i) low = std::min(low, from[i]), high = std::max(high, from[i]), any |= from[i] != from[i];
    if (any) low = high = std::numeric_limits<double>::quiet_NaN();
}

// Numbers of `width` columns, at most W of them, beside each other in rows that are p long.
template <int W = kColumnsAtOnce>
CLUSTERGLM_INLINE void put(const double* const* from, int width, std::int64_t count, int p, double* rows) {
    if (width == W) {
        for (std::int64_t i = 0; i < count; ++i)
            for (int l = 0; l < W; ++l) rows[i * p + l] = from[l][i];
    } else if constexpr (W > 1) {
        put<W - 1>(from, width, count, p, rows);
    }
}

// X: n by p in C order. columns: p of them, null for a column of ones; ranges: least and largest value of each, p by 2.
inline void side_by_side(const double* const* columns, std::int64_t n, int p, double* X, double* ranges) {
    double ones[kColumnRows];
    std::fill_n(ones, kColumnRows, 1.0);
    for (int j = 0; j < p; ++j) {
        ranges[2 * j] = columns[j] ? std::numeric_limits<double>::infinity() : 1.0;
        ranges[2 * j + 1] = columns[j] ? -std::numeric_limits<double>::infinity() : 1.0;
    }
    for (std::int64_t first = 0; first < n; first += kColumnRows) {
        const std::int64_t count = std::min(kColumnRows, n - first);
        for (int j = 0; j < p; j += kColumnsAtOnce) {
            const int width = std::min(kColumnsAtOnce, p - j);
            const double* from[kColumnsAtOnce];
            for (int l = 0; l < width; ++l) from[l] = columns[j + l] ? columns[j + l] + first : ones;
            put(from, width, count, p, X + first * p + j);
        }
        for (int j = 0; j < p; ++j)
            if (columns[j]) widen(columns[j] + first, count, ranges[2 * j], ranges[2 * j + 1]);
    }
}

}  // namespace clusterglm
