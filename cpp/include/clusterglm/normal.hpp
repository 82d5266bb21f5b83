// Normal responses: sums of products of rows within units, and what their likelihood asks of the units (moments.py has the formulas).
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "lanes.hpp"

namespace clusterglm {

// Most effects of a unit whose small matrices registers hold.
inline constexpr int kNormalEffects = 4;

// Units with d effects each and k columns [X y]. An entry's numbers of all units lie together, padded with 0 to whole packs.
struct NormalUnits {
    int d, k;
    std::int64_t size;       // units, padded
    const double* squares;   // Z'Z, d by d by size
    const double* products;  // Z'[X y], d by k by size
    const double* weights;   // size, 0 beyond the units
};

// Sums over each unit's rows of left' right, written at [a][place + b][unit] of i by width by size; left: n by i, right: n by j.
inline void normal_products(const double* left, const double* right, std::int64_t n, const std::int64_t* starts, std::int64_t units, int i, int j,
                            int place, int width, std::int64_t size, double* found) {
    const int packs = padded(j) / kLanes;
    // Packs read into the next row, whose numbers are not looked at; the last rows have room of their own for that.
    const std::int64_t safe = std::max<std::int64_t>(0, n - (padded(j) - 1) / j);
    std::vector<double> last(static_cast<std::size_t>((n - safe) * j + padded(j)), 0.0);
    std::copy(right + safe * j, right + n * j, last.begin());
    for (std::int64_t u = 0; u < units; ++u)
        for (int a = 0; a < i; ++a)
            for (int first = 0; first < packs; first += 8)
                with_known(std::min(8, packs - first), [&]<int N>() {
                    Pack sums[N]{};
                    const auto add = [&](std::int64_t row, const double* from) CLUSTERGLM_INLINE_LAMBDA {
                        const Pack z = all(left[row * i + a]);
                        for (int c = 0; c < N; ++c) sums[c] += z * load(from + (first + c) * kLanes);
                    };
                    std::int64_t row = starts[u];
                    for (; row < std::min(starts[u + 1], safe); ++row) add(row, right + row * j);
                    for (; row < starts[u + 1]; ++row) add(row, last.data() + (row - safe) * j);
                    for (int c = 0; c < N; ++c)
                        for (int l = 0; l < kLanes; ++l) {
                            const int b = (first + c) * kLanes + l;
                            if (b < j) found[(static_cast<std::int64_t>(a) * width + place + b) * size + u] = sums[c][l];
                        }
                });
}

namespace normal {

template <int D>
using Square = Pack[D][D];

// K = L (I + L'GL)^-1 L', B = I - GK and log|I + L'GL| of four units.
template <int D>
CLUSTERGLM_INLINE Pack relative(const NormalUnits& units, std::int64_t at, const double* L, Square<D>& G, Square<D>& K, Square<D>& B) {
    Square<D> A, C;
    for (int a = 0; a < D; ++a)
        for (int b = 0; b < D; ++b) G[a][b] = load(units.squares + (a * D + b) * units.size + at);
    for (int a = 0; a < D; ++a)
        for (int b = 0; b < D; ++b) {
            Pack sum{};
            for (int c = 0; c < D; ++c) sum += G[a][c] * L[c * D + b];
            C[a][b] = sum;
        }
    for (int a = 0; a < D; ++a)
        for (int b = 0; b <= a; ++b) {
            Pack sum = all(a == b ? 1.0 : 0.0);
            for (int c = 0; c < D; ++c) sum += C[c][b] * L[c * D + a];
            A[a][b] = sum;
        }
    // A = R P R', R with ones on its diagonal; then C = R^-1 L', so that K = C' P^-1 C
    Pack pivots = all(1.0), P[D];
    for (int a = 0; a < D; ++a) {
        for (int b = 0; b < a; ++b) {
            for (int c = 0; c < b; ++c) A[a][b] -= A[a][c] * P[c] * A[b][c];
            A[a][b] /= P[b];
        }
        P[a] = A[a][a];
        for (int c = 0; c < a; ++c) P[a] -= A[a][c] * A[a][c] * P[c];
        pivots *= P[a];
    }
    for (int b = 0; b < D; ++b)
        for (int a = 0; a < D; ++a) {
            Pack sum = all(L[b * D + a]);
            for (int c = 0; c < a; ++c) sum -= A[a][c] * C[c][b];
            C[a][b] = sum;
        }
    for (int a = 0; a < D; ++a) P[a] = 1.0 / P[a];
    for (int a = 0; a < D; ++a)
        for (int b = 0; b <= a; ++b) {
            Pack sum{};
            for (int c = 0; c < D; ++c) sum += C[c][a] * P[c] * C[c][b];
            K[a][b] = K[b][a] = sum;
        }
    for (int a = 0; a < D; ++a)
        for (int b = 0; b < D; ++b) {
            Pack sum = all(a == b ? 1.0 : 0.0);
            for (int c = 0; c < D; ++c) sum -= G[a][c] * K[c][b];
            B[a][b] = sum;
        }
    return pivots;
}

template <int D>
void value(const NormalUnits& units, const double* L, double* found) {
    const int k = units.k;
    std::vector<double> sums(static_cast<std::size_t>(k) * k * kLanes, 0.0), rows(static_cast<std::size_t>(k) * D * kLanes);
    Pack logdet{};
    for (std::int64_t at = 0; at < units.size; at += kLanes) {
        Square<D> G, K, B;
        const Pack w = load(units.weights + at), pivots = relative<D>(units, at, L, G, K, B);
        logdet += w * lanes::log(pivots);
        for (int i = 0; i < k; ++i)
            for (int a = 0; a < D; ++a) {
                Pack sum{};
                for (int b = 0; b < D; ++b) sum += K[a][b] * load(units.products + (b * k + i) * units.size + at);
                store(&rows[(i * D + a) * kLanes], w * sum);
            }
        for (int i = 0; i < k; ++i) {
            Pack R[D];
            for (int a = 0; a < D; ++a) R[a] = load(units.products + (a * k + i) * units.size + at);
            for (int j = 0; j <= i; ++j) {
                double* const sum = &sums[(i * k + j) * kLanes];
                Pack more = load(sum);
                for (int a = 0; a < D; ++a) more += R[a] * load(&rows[(j * D + a) * kLanes]);
                store(sum, more);
            }
        }
    }
    found[0] = reduce(logdet);
    for (int i = 0; i < k; ++i)
        for (int j = 0; j <= i; ++j) found[1 + i * k + j] = found[1 + j * k + i] = reduce(load(&sums[(i * k + j) * kLanes]));
}

// With H = Z'V^-1 Z and t = Z'V^-1 [X y] v: weighted sums of H, of Z'V^-1 [X y] x t, of H x H and of tt' x H.
template <int D>
void slopes(const NormalUnits& units, const double* L, const double* v, double* found) {
    const int k = units.k;
    std::vector<double> sums(static_cast<std::size_t>(k) * D * D * kLanes, 0.0);
    Square<D> of_H{}, of_pairs[D][D]{}, of_t[D][D]{};
    for (std::int64_t at = 0; at < units.size; at += kLanes) {
        Square<D> G, K, B, H;
        const Pack w = load(units.weights + at);
        relative<D>(units, at, L, G, K, B);
        for (int a = 0; a < D; ++a)
            for (int b = 0; b < D; ++b) {
                Pack sum{};
                for (int c = 0; c < D; ++c) sum += B[a][c] * G[c][b];
                H[a][b] = sum;
            }
        Pack Rv[D]{}, t[D];
        for (int a = 0; a < D; ++a)
            for (int i = 0; i < k; ++i) Rv[a] += v[i] * load(units.products + (a * k + i) * units.size + at);
        for (int a = 0; a < D; ++a) {
            t[a] = Pack{};
            for (int b = 0; b < D; ++b) t[a] += B[a][b] * Rv[b];
        }
        for (int a = 0; a < D; ++a)
            for (int b = 0; b < D; ++b) {
                const Pack wH = w * H[a][b], tt = w * t[a] * t[b];
                of_H[a][b] += wH;
                for (int c = 0; c < D; ++c)
                    for (int e = 0; e < D; ++e) of_pairs[a][b][c][e] += wH * H[c][e], of_t[a][b][c][e] += tt * H[c][e];
            }
        for (int a = 0; a < D; ++a) t[a] *= w;
        for (int i = 0; i < k; ++i)
            for (int a = 0; a < D; ++a) {
                Pack y{};
                for (int b = 0; b < D; ++b) y += B[a][b] * load(units.products + (b * k + i) * units.size + at);
                for (int b = 0; b < D; ++b) {
                    double* const sum = &sums[((i * D + a) * D + b) * kLanes];
                    store(sum, load(sum) + y * t[b]);
                }
            }
    }
    for (int a = 0; a < D; ++a)
        for (int b = 0; b < D; ++b) *found++ = reduce(of_H[a][b]);
    for (std::size_t i = 0; i < sums.size(); i += kLanes) *found++ = reduce(load(&sums[i]));
    for (const auto* sum : {&of_pairs, &of_t})
        for (int a = 0; a < D; ++a)
            for (int b = 0; b < D; ++b)
                for (int c = 0; c < D; ++c)
                    for (int e = 0; e < D; ++e) *found++ = reduce((*sum)[a][b][c][e]);
}

}  // namespace normal

// log|V| less 0 and what the units take off [X y]'[X y], 1 + k * k numbers.
inline void normal_value(const NormalUnits& units, const double* L, double* found) {
    switch (units.d) {
        case 1: return normal::value<1>(units, L, found);
        case 2: return normal::value<2>(units, L, found);
        case 3: return normal::value<3>(units, L, found);
        case 4: return normal::value<4>(units, L, found);
    }
}

// See normal::slopes: d * d + k * d * d + 2 * d^4 numbers.
inline void normal_slopes(const NormalUnits& units, const double* L, const double* v, double* found) {
    switch (units.d) {
        case 1: return normal::slopes<1>(units, L, v, found);
        case 2: return normal::slopes<2>(units, L, v, found);
        case 3: return normal::slopes<3>(units, L, v, found);
        case 4: return normal::slopes<4>(units, L, v, found);
    }
}

}  // namespace clusterglm
