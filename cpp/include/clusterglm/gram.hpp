// Sums of outer products of rows, with rows padded to whole packs.
#pragma once
#include <cstddef>

#include "lanes.hpp"

namespace clusterglm {

// Copies n rows of length p into rows of `stride`, padded with zeros.
CLUSTERGLM_INLINE void copy_rows(const double* from, int n, int p, int stride, double* to) {
    for (int j = 0; j < n; ++j, from += p, to += stride) {
        for (int r = 0; r < p; ++r) to[r] = from[r];
        for (int r = p; r < stride; ++r) to[r] = 0.0;
    }
}

// H += X' Y, lower triangle up to whole packs: n rows of X and Y, p rows of H, all of `stride`.
// Packs: stride / kLanes, or 0 for any; widths known to the compiler keep sums in registers.
template <int Packs>
CLUSTERGLM_INLINE void add_products_of(const double* X, const double* Y, int n, int p, int stride, double* H) {
    const int packs = Packs > 0 ? Packs : stride / kLanes, width = packs * kLanes;
    for (int v = 0; v < packs; ++v) {
        int r = v * kLanes;
        for (; r + 1 < p; r += 2) {  // two rows of H share the loads of Y
            Pack first = load(H + r * width + v * kLanes), second = load(H + (r + 1) * width + v * kLanes);
            for (int j = 0; j < n; ++j) {
                const Pack y = load(Y + static_cast<std::size_t>(j) * width + v * kLanes);
                const double* x = X + static_cast<std::size_t>(j) * width + r;
                first += x[0] * y;
                second += x[1] * y;
            }
            store(H + r * width + v * kLanes, first);
            store(H + (r + 1) * width + v * kLanes, second);
        }
        if (r < p) {
            Pack sum = load(H + r * width + v * kLanes);
            for (int j = 0; j < n; ++j)
                sum += X[static_cast<std::size_t>(j) * width + r] * load(Y + static_cast<std::size_t>(j) * width + v * kLanes);
            store(H + r * width + v * kLanes, sum);
        }
    }
}

CLUSTERGLM_INLINE void add_products(const double* X, const double* Y, int n, int p, int stride, double* H) {
    switch (stride / kLanes) {
        case 1: return add_products_of<1>(X, Y, n, p, stride, H);
        case 2: return add_products_of<2>(X, Y, n, p, stride, H);
        case 3: return add_products_of<3>(X, Y, n, p, stride, H);
        default: return add_products_of<0>(X, Y, n, p, stride, H);
    }
}

// sum_j weights[j] * row_j, added to `to`.
CLUSTERGLM_INLINE void add_rows(const double* rows, const double* weights, int n, int stride, double* to) {
    for (int v = 0; v < stride; v += kLanes) {
        Pack sum = load(to + v);
        for (int j = 0; j < n; ++j) sum += weights[j] * load(rows + static_cast<std::size_t>(j) * stride + v);
        store(to + v, sum);
    }
}

}  // namespace clusterglm
