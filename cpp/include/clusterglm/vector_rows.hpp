// The rows of one cluster with several effects: lambda = eta + A u, and the mode of g(u) = sum log P - u'u/2.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "four.hpp"
#include "lanes.hpp"
#include "parallel.hpp"
#include "problem.hpp"
#include "row_loops.hpp"
#include "rows.hpp"
#include "vector_points.hpp"

namespace clusterglm {

// lambda_j = x_j'beta + offset_j + z_j' L u, u standard normal. Effects are columns of X too; what enters without a coefficient has 0.
struct VectorModel {
    int p, d, entries;                  // coefficients: of the first columns of X; effects; free entries of L
    std::vector<std::int64_t> columns;  // of the effects in X
    std::vector<std::int64_t> row, col;  // of the free entries
    std::vector<double> beta;           // as many as X has columns
    Small L;

    int parameters() const { return p + entries; }
};

// D: the number of effects if the compiler is to know, or 0.
template <int D>
class VectorRows {
   public:
    static constexpr double kRange = ClusterRows::kRange;
    int n = 0, size = 0;  // rows, and with padding: empty rows
    std::vector<double> eta, a, b, lambda, G, H, I;
    Small S, C, F;  // at the mode: curvature, its Cholesky factor, and C^-T

    VectorRows(const RowLoops& loops, const Problem& problem, const VectorModel& model)
        : loops_(loops), problem_(problem), model_(model), d_(model.d), nothing_(static_cast<std::size_t>(problem.p)) {}

    CLUSTERGLM_INLINE int d() const { return D > 0 ? D : d_; }
    const double* effect(int t) const { return &A_[static_cast<std::size_t>(t) * stride_]; }
    const double* column(int r) const { return &x_[static_cast<std::size_t>(r) * stride_]; }
    const double* x(int j) const { return problem_.X + (start_ + j) * problem_.p; }

    void load(std::int64_t cluster) {
        start_ = problem_.starts[cluster];
        n = static_cast<int>(problem_.starts[cluster + 1] - start_), size = padded(n);
        const int p = problem_.p;
        if (size > stride_) {
            stride_ = std::max(size, 2 * stride_);
            for (auto* v : {&eta, &a, &b, &lambda, &G, &H, &I}) v->resize(static_cast<std::size_t>(stride_));
            A_.resize(static_cast<std::size_t>(stride_) * d()), x_.resize(static_cast<std::size_t>(stride_) * p);
        }
        std::copy_n(problem_.offset + start_, n, eta.begin()), std::copy_n(problem_.a + start_, n, a.begin()), std::copy_n(problem_.b + start_, n, b.begin());
        for (int j = n; j < size; ++j) eta[j] = a[j] = b[j] = 0.0;
        with_known(p, [&]<int P>() CLUSTERGLM_INLINE_LAMBDA {
            for (int i = 0; i < size; i += kLanes) {
                FourRows row;
                for (int l = 0; l < kLanes; ++l) row[l] = i + l < n ? x(i + l) : nothing_.data();
                Pack sum = clusterglm::load(&eta[i]);
                each_column<P>(row, p, [&](int r, Pack column) CLUSTERGLM_INLINE_LAMBDA {
                    store(&x_[static_cast<std::size_t>(r) * stride_ + i], column);
                    sum += model_.beta[r] * column;
                });
                store(&eta[i], sum);
                for (int t = 0; t < d(); ++t) {
                    Pack slope{};
                    for (int e = t; e < d(); ++e) slope += model_.L[e][t] * clusterglm::load(column(static_cast<int>(model_.columns[e])) + i);
                    store(&A_[static_cast<std::size_t>(t) * stride_ + i], slope);
                }
            }
        });
    }

    // lambda at u, and whether all of them are in the fast range.
    CLUSTERGLM_INLINE bool locate(const double* u) {
        Pack low{}, high{};
        for (int i = 0; i < size; i += kLanes) {
            Pack at = clusterglm::load(&eta[i]);
            for (int t = 0; t < d(); ++t) at += u[t] * clusterglm::load(effect(t) + i);
            store(&lambda[i], at);
            low = at < low ? at : low, high = at > high ? at : high;
        }
        return lanes::every((low > all(-kRange)) & (high < all(kRange)));
    }

    // log P at u.
    double log_p(const double* u) {
        const bool fast = locate(u);
        return loops_.log_p(lambda.data(), a.data(), b.data(), size, fast);
    }

    // Local maximum of g, sought from u: where it is the only one, Newton's steps that stay uphill find it. precise: to rounding.
    // ahead: the last step is so short that G, H and S after it are known by those before; I is left as it was there.
    void find_mode(double* u, bool precise, bool ahead = false) {
        constexpr int kMost = 1000, kPatience = 6;
        constexpr double kTolerance = 1e-16, kTiny = 1e-26;
        constexpr double kShort = 1e-7, kShortOfPlaces = 1e-4;  // the most that lambda moves by the last step: H's error is its square
        double decrement = 0.0, last = 0.0, g[kMostEffects], step[kMostEffects], next[kMostEffects];
        for (int number = 0;; ++number) {
            checkpoint(8 * static_cast<std::int64_t>(size));
            if constexpr (D == 1) {
                const bool fast = locate(u);
                double first, second;
                loops_.derivatives_along(lambda.data(), a.data(), b.data(), effect(0), size, fast, G.data(), H.data(), I.data(), &first, &second);
                g[0] = first - u[0], S[0][0] = 1.0 - second;
                factorise();
            } else {
                derivatives(u);
                for (int t = 0; t < d(); ++t) {
                    Pack sum{};
                    for (int i = 0; i < size; i += kLanes) sum += clusterglm::load(effect(t) + i) * clusterglm::load(&G[i]);
                    g[t] = reduce(sum) - u[t];
                }
                curve();
            }
            solve(g, step);
            last = decrement, decrement = 0.0;
            for (int t = 0; t < d(); ++t) decrement += g[t] * step[t];
            if (!(decrement > (precise ? kTiny : kTolerance)) || number == kMost) break;
            if (precise && number > 0 && decrement < kTolerance && decrement > 0.1 * last) break;
            Pack farthest{};
            for (int i = 0; i < size; i += kLanes) {
                Pack move{};
                for (int t = 0; t < d(); ++t) move += step[t] * clusterglm::load(effect(t) + i);
                move = lanes::magnitude(move);
                farthest = move > farthest ? move : farthest;
            }
            if (ahead && lanes::every(farthest < all(precise ? kShort : kShortOfPlaces))) {
                for (int t = 0; t < d(); ++t) u[t] += step[t];
                for (int i = 0; i < size; i += kLanes) {
                    Pack move{};
                    for (int t = 0; t < d(); ++t) move += step[t] * clusterglm::load(effect(t) + i);
                    const Pack h = clusterglm::load(&H[i]), third = clusterglm::load(&I[i]);
                    store(&G[i], clusterglm::load(&G[i]) + move * (h + 0.5 * move * third)), store(&H[i], h + move * third);
                }
                curve();
                break;
            }
            double length = 1.0;
            if (!lanes::every(farthest < all(1.0))) {
                const double here = log_p(u) - 0.5 * square(u);
                const auto gain = [&](double t) {
                    for (int s = 0; s < d(); ++s) next[s] = u[s] + t * step[s];
                    return log_p(next) - 0.5 * square(next) - here;
                };
                while (!(gain(length) >= 1e-4 * length * decrement) && length > 1e-12) length *= 0.5;
                // Against an exponential wall Newton creeps.
                if (number > kPatience && length == 1.0)
                    for (double now = gain(1.0), then; (then = gain(2.0 * length)) > now && length < 1e6; now = then) length *= 2.0;
            }
            for (int t = 0; t < d(); ++t) u[t] += length * step[t];
        }
        inverse_transposed(C, d(), F);
    }

    // G, H and I of all rows at u.
    CLUSTERGLM_INLINE void derivatives(const double* u) {
        const bool fast = locate(u);
        loops_.derivatives(lambda.data(), a.data(), b.data(), size, fast, G.data(), H.data(), I.data());
    }

    // S of the rows' H; its Cholesky factor.
    void curve() {
        for (int t = 0; t < d(); ++t)
            for (int s = 0; s <= t; ++s) {
                Pack square{};
                for (int i = 0; i < size; i += kLanes)
                    square += clusterglm::load(&H[i]) * (clusterglm::load(effect(t) + i) * clusterglm::load(effect(s) + i));
                S[t][s] = (t == s ? 1.0 : 0.0) - reduce(square);
            }
        factorise();
    }
    void factorise() {
        if (cholesky(S, d(), C)) return;
        S = {};  // rounding, or numbers without end: as if the likelihood were flat
        for (int t = 0; t < d(); ++t) S[t][t] = 1.0;
        cholesky(S, d(), C);
    }

    CLUSTERGLM_INLINE void solve(const double* g, double* step) const {
        double half[kMostEffects];
        for (int t = 0; t < d(); ++t) {
            half[t] = g[t];
            for (int s = 0; s < t; ++s) half[t] -= C[t][s] * half[s];
            half[t] /= C[t][t];
        }
        for (int t = d() - 1; t >= 0; --t) {
            step[t] = half[t];
            for (int s = t + 1; s < d(); ++s) step[t] -= C[s][t] * step[s];
            step[t] /= C[t][t];
        }
    }

   private:
    const RowLoops& loops_;
    const Problem& problem_;
    const VectorModel& model_;
    const int d_;
    int stride_ = 0;
    std::int64_t start_ = 0;
    std::vector<double> nothing_, A_, x_;  // d and p arrays of `stride`

    double square(const double* u) const {
        double sum = 0.0;
        for (int t = 0; t < d(); ++t) sum += u[t] * u[t];
        return sum;
    }
};

}  // namespace clusterglm
