// The rows of one unit, an upper cluster whose children have effects too: lambda = eta + A1 u + A2 v_c in the rows of child c. And the joint
// mode of sum log P - u'u/2 - sum v_c'v_c/2 with the curvature there, by block elimination: children first.
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

// The effects of one level.
struct NestedLevel {
    int d, entries;                      // effects; free entries of L
    std::vector<std::int64_t> columns;   // of the effects in X
    std::vector<std::int64_t> row, col;  // of the free entries
    Small L;
};

// lambda_j = x_j'beta + offset_j + z1_j' L1 u + z2_j' L2 v. Effects are columns of X too; what enters without a coefficient has 0 in beta.
// theta = (beta, entries of L1, entries of L2). Unit i has the children first_child[i]..first_child[i + 1], child c the rows
// child_starts[c]..child_starts[c + 1].
struct NestedModel {
    int p;                     // coefficients: of the first columns of X
    std::vector<double> beta;  // as many as X has columns
    NestedLevel upper, lower;
    const std::int64_t *first_child, *child_starts;

    int parameters() const { return p + upper.entries + lower.entries; }
};

// One child of the unit at hand: its first row, counted within the unit and in padded arrays; its rows; the same padded.
struct Child {
    int first, begin, n, size;
};

class NestedRows {
   public:
    static constexpr double kRange = ClusterRows::kRange;
    int n = 0, size = 0;  // rows, and with padding: empty rows at the end of each child
    std::vector<Child> children;
    std::vector<double> eta, a, b, lambda, G, H, I;
    Small F;                     // at the mode: of the unit, C^-T of what the curvature in u leaves
    std::vector<Small> own, T;   // of each child: C^-T of its curvature; dv/du, d2 x d1

    NestedRows(const RowLoops& loops, const Problem& problem, const NestedModel& model)
        : loops_(loops), problem_(problem), model_(model), d1_(model.upper.d), d2_(model.lower.d), nothing_(static_cast<std::size_t>(problem.p)) {}

    const double* upper(int t) const { return &A1_[static_cast<std::size_t>(t) * stride_]; }
    const double* lower(int t) const { return &A2_[static_cast<std::size_t>(t) * stride_]; }
    const double* column(int r) const { return &x_[static_cast<std::size_t>(r) * stride_]; }
    const double* x(int j) const { return problem_.X + (start_ + j) * problem_.p; }

    void load(std::int64_t unit) {
        start_ = problem_.starts[unit];
        n = size = 0;
        children.clear();
        for (std::int64_t c = model_.first_child[unit]; c < model_.first_child[unit + 1]; ++c) {
            const auto rows = static_cast<int>(model_.child_starts[c + 1] - model_.child_starts[c]);
            children.push_back({n, size, rows, padded(rows)});
            n += rows, size += padded(rows);
        }
        const std::size_t count = children.size();
        if (own.size() < count) own.resize(count), T.resize(count), C_.resize(count), step_.resize(count * d2_), next_.resize(count * d2_);
        if (size > stride_) {
            stride_ = std::max(size, 2 * stride_);
            for (auto* v : {&eta, &a, &b, &lambda, &G, &H, &I}) v->resize(static_cast<std::size_t>(stride_));
            A1_.resize(static_cast<std::size_t>(stride_) * d1_), A2_.resize(static_cast<std::size_t>(stride_) * d2_);
            x_.resize(static_cast<std::size_t>(stride_) * problem_.p);
        }
        for (const Child& child : children) {
            const std::int64_t from = start_ + child.first;
            std::copy_n(problem_.offset + from, child.n, &eta[child.begin]);
            std::copy_n(problem_.a + from, child.n, &a[child.begin]), std::copy_n(problem_.b + from, child.n, &b[child.begin]);
            for (int j = child.begin + child.n; j < child.begin + child.size; ++j) eta[j] = a[j] = b[j] = 0.0;
            for (int i = 0; i < child.size; i += kLanes) load_columns(child, i);
        }
    }

    // Local maximum, sought from u and v (children x d2): where it is the only one, Newton's steps that stay uphill find it. precise: to
    // rounding.
    void find_mode(double* u, double* v, bool precise) {
        constexpr int kMost = 1000, kPatience = 6;
        constexpr double kTolerance = 1e-16, kTiny = 1e-26;
        double decrement = 0.0, last = 0.0, du[kMostEffects], next[kMostEffects];
        for (int number = 0;; ++number) {
            checkpoint(8 * static_cast<std::int64_t>(size));
            derivatives(u, v);
            last = decrement, decrement = newton_step(u, v, du);
            if (!(decrement > (precise ? kTiny : kTolerance)) || number == kMost) break;
            if (precise && number > 0 && decrement < kTolerance && decrement > 0.1 * last) break;
            double length = 1.0;
            if (!(farthest(du, step_.data()) < 1.0)) {
                const auto at = [&](double t) {
                    for (int s = 0; s < d1_; ++s) next[s] = u[s] + t * du[s];
                    for (std::size_t s = 0; s < children.size() * d2_; ++s) next_[s] = v[s] + t * step_[s];
                    return log_p(next, next_.data()) - 0.5 * (square(next, d1_) + square(next_.data(), children.size() * d2_));
                };
                const double here = at(0.0);
                while (!(at(length) - here >= 1e-4 * length * decrement) && length > 1e-12) length *= 0.5;
                // Against an exponential wall Newton creeps.
                if (number > kPatience && length == 1.0)
                    for (double now = at(1.0), then; (then = at(2.0 * length)) > now && length < 1e6; now = then) length *= 2.0;
            }
            for (int t = 0; t < d1_; ++t) u[t] += length * du[t];
            for (std::size_t t = 0; t < children.size() * d2_; ++t) v[t] += length * step_[t];
        }
        for (std::size_t c = 0; c < children.size(); ++c) inverse_transposed(C_[c], d2_, own[c]);
        inverse_transposed(C1_, d1_, F);
    }

   private:
    const RowLoops& loops_;
    const Problem& problem_;
    const NestedModel& model_;
    const int d1_, d2_;
    int stride_ = 0;
    std::int64_t start_ = 0;
    std::vector<double> nothing_, A1_, A2_, x_;  // d1, d2 and P arrays of `stride`
    Small C1_, own_S_, across_;        // of the unit, its Cholesky factor; of the child at hand, -g_vv and -g_vu
    std::vector<Small> C_;             // of each child: Cholesky factor of its curvature
    std::vector<double> step_, next_;  // children x d2

    void load_columns(const Child& child, int i) {
        FourRows row;
        for (int l = 0; l < kLanes; ++l) row[l] = i + l < child.n ? x(child.first + i + l) : nothing_.data();
        const int to = child.begin + i;
        Pack sum = clusterglm::load(&eta[to]);
        each_column<0>(row, problem_.p, [&](int r, Pack column) {
            store(&x_[static_cast<std::size_t>(r) * stride_ + to], column);
            sum += model_.beta[r] * column;
        });
        store(&eta[to], sum);
        const auto slopes = [&](const NestedLevel& level, std::vector<double>& A) {
            for (int t = 0; t < level.d; ++t) {
                Pack slope{};
                for (int e = t; e < level.d; ++e) slope += level.L[e][t] * clusterglm::load(column(static_cast<int>(level.columns[e])) + to);
                store(&A[static_cast<std::size_t>(t) * stride_ + to], slope);
            }
        };
        slopes(model_.upper, A1_), slopes(model_.lower, A2_);
    }

    // lambda at u and v, and whether all of them are in the fast range.
    CLUSTERGLM_INLINE bool locate(const double* u, const double* v) {
        Pack low{}, high{};
        for (const Child& child : children) {
            for (int i = child.begin; i < child.begin + child.size; i += kLanes) {
                Pack at = clusterglm::load(&eta[i]);
                for (int t = 0; t < d1_; ++t) at += u[t] * clusterglm::load(upper(t) + i);
                for (int t = 0; t < d2_; ++t) at += v[t] * clusterglm::load(lower(t) + i);
                store(&lambda[i], at);
                low = at < low ? at : low, high = at > high ? at : high;
            }
            v += d2_;
        }
        return lanes::every((low > all(-kRange)) & (high < all(kRange)));
    }

    double log_p(const double* u, const double* v) {
        const bool fast = locate(u, v);
        return loops_.log_p(lambda.data(), a.data(), b.data(), size, fast);
    }

    // G, H and I of all rows.
    void derivatives(const double* u, const double* v) {
        const bool fast = locate(u, v);
        loops_.derivatives(lambda.data(), a.data(), b.data(), size, fast, G.data(), H.data(), I.data());
    }

    CLUSTERGLM_INLINE double over(const Child& child, const double* x, const double* y) const {
        Pack sum{};
        for (int i = child.begin; i < child.begin + child.size; i += kLanes) sum += clusterglm::load(x + i) * clusterglm::load(y + i);
        return reduce(sum);
    }
    CLUSTERGLM_INLINE double over(const Child& child, const double* x, const double* y, const double* z) const {
        Pack sum{};
        for (int i = child.begin; i < child.begin + child.size; i += kLanes)
            sum += clusterglm::load(x + i) * (clusterglm::load(y + i) * clusterglm::load(z + i));
        return reduce(sum);
    }

    // Newton's step, that of u and in step_ that of v; factors of the curvature and dv/du; returns the square of the step's length in it.
    double newton_step(const double* u, const double* v, double* du) {
        Small S;
        double g[kMostEffects], decrement = 0.0;
        for (int t = 0; t < d1_; ++t) {
            g[t] = -u[t];
            for (int s = 0; s <= t; ++s) S[t][s] = t == s ? 1.0 : 0.0;
        }
        for (std::size_t c = 0; c < children.size(); ++c) {
            const Child& child = children[c];
            double* step = &step_[c * d2_];
            Small &own_S = own_S_, &across = across_;
            double own_g[kMostEffects];
            for (int t = 0; t < d2_; ++t) {
                own_g[t] = over(child, lower(t), G.data()) - v[c * d2_ + t];
                for (int s = 0; s <= t; ++s) own_S[t][s] = (t == s ? 1.0 : 0.0) - over(child, H.data(), lower(t), lower(s));
                for (int s = 0; s < d1_; ++s) across[t][s] = -over(child, H.data(), lower(t), upper(s));
            }
            if (!factorise(own_S, d2_, C_[c])) across = {};
            solve(C_[c], d2_, own_g, step);
            for (int t = 0; t < d2_; ++t) decrement += own_g[t] * step[t];
            double from[kMostEffects], to[kMostEffects];
            for (int s = 0; s < d1_; ++s) {
                for (int t = 0; t < d2_; ++t) from[t] = -across[t][s];
                solve(C_[c], d2_, from, to);
                for (int t = 0; t < d2_; ++t) T[c][t][s] = to[t];
            }
            for (int t = 0; t < d1_; ++t) {
                g[t] += over(child, upper(t), G.data());
                for (int e = 0; e < d2_; ++e) g[t] += T[c][e][t] * own_g[e];
                for (int s = 0; s <= t; ++s) {
                    S[t][s] -= over(child, H.data(), upper(t), upper(s));
                    for (int e = 0; e < d2_; ++e) S[t][s] += across[e][t] * T[c][e][s];
                }
            }
        }
        factorise(S, d1_, C1_);
        solve(C1_, d1_, g, du);
        for (int t = 0; t < d1_; ++t) decrement += g[t] * du[t];
        for (std::size_t c = 0; c < children.size(); ++c)
            for (int t = 0; t < d2_; ++t)
                for (int s = 0; s < d1_; ++s) step_[c * d2_ + t] += T[c][t][s] * du[s];
        return decrement;
    }

    // Where S is not positive definite, by rounding or numbers without end: as if the likelihood were flat, and false.
    static bool factorise(const Small& S, int d, Small& C) {
        if (cholesky(S, d, C)) return true;
        Small unit;
        for (int t = 0; t < d; ++t) unit[t][t] = 1.0;
        cholesky(unit, d, C);
        return false;
    }

    static void solve(const Small& C, int d, const double* g, double* step) {
        double half[kMostEffects];
        for (int t = 0; t < d; ++t) {
            half[t] = g[t];
            for (int s = 0; s < t; ++s) half[t] -= C[t][s] * half[s];
            half[t] /= C[t][t];
        }
        for (int t = d - 1; t >= 0; --t) {
            step[t] = half[t];
            for (int s = t + 1; s < d; ++s) step[t] -= C[s][t] * step[s];
            step[t] /= C[t][t];
        }
    }

    // The largest change of lambda.
    double farthest(const double* du, const double* dv) const {
        Pack most{};
        for (const Child& child : children) {
            for (int i = child.begin; i < child.begin + child.size; i += kLanes) {
                Pack move{};
                for (int t = 0; t < d1_; ++t) move += du[t] * clusterglm::load(upper(t) + i);
                for (int t = 0; t < d2_; ++t) move += dv[t] * clusterglm::load(lower(t) + i);
                move = lanes::magnitude(move);
                most = move > most ? move : most;
            }
            dv += d2_;
        }
        return greatest<double>(most);
    }

    static double square(const double* x, std::size_t count) {
        double sum = 0.0;
        for (std::size_t t = 0; t < count; ++t) sum += x[t] * x[t];
        return sum;
    }
};

}  // namespace clusterglm
