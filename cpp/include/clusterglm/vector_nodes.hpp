// The points of one cluster: where they lie, the integrand there, and the rows' first two derivatives at each.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "blocks.hpp"
#include "lanes.hpp"
#include "row_loops.hpp"
#include "vector_cells.hpp"
#include "vector_rows.hpp"

namespace clusterglm {

// Of each cluster of the problem; null where not wanted.
struct VectorOutputs {
    double* values = nullptr;       // weighted log-likelihood
    double* scores = nullptr;       // x q: its score
    double* means = nullptr;        // x d: posterior mean of u
    double* covariances = nullptr;  // x d x d
    double* shares = nullptr;       // x kinds: of the integral at the points of each kind
};

template <int D>
class VectorNodes : protected VectorCells {
   protected:
    VectorNodes(const RowLoops& loops, const Problem& problem, const VectorModel& model, const PointSet& points)
        : VectorCells(points, model.d, problem.unit), problem_(problem), rows_(loops, problem, model), loops_(loops.vector[D]) {
        const auto K = static_cast<std::size_t>(points.size);
        pi.resize(K), u_.resize(K * d_);
    }

    const Problem& problem_;
    VectorRows<D> rows_;
    Small F_;
    std::vector<double> pi;  // of points: their share
    std::vector<double> u_;  // d arrays over points
    int heaviest_ = 0;

    CLUSTERGLM_INLINE int d() const { return D > 0 ? D : d_; }
    const double* u(int t) const { return &u_[static_cast<std::size_t>(t) * points_.size]; }

    // Of so many rows G and H are kept at all points: of whole packs.
    int keep_rows() const {
        constexpr std::int64_t kCells = 1 << 16;
        return static_cast<int>(std::max<std::int64_t>(1, kCells / (2 * kLanes * points_.size))) * kLanes;
    }
    // Points u, and what rows are there: lambda = base + B c.
    void place(const double* centre) {
        const int K = points_.size, n = rows_.n, size = rows_.size;
        a_ = rows_.a.data(), b_ = rows_.b.data(), stride_ = size;
        for (int k = 0; k < K; k += kLanes) {
            Pack square{};
            for (int t = 0; t < d(); ++t) {
                Pack at = all(centre[t]);
                for (int s = 0; s < d(); ++s) at += F_[t][s] * load(points_.coordinate(s) + k);
                store(&u_[static_cast<std::size_t>(t) * K + k], at);
                square += at * at;
            }
            store(&q[k], load(&points_.log_weight[k]) - 0.5 * square);
        }
        if (base_.size() < static_cast<std::size_t>(size)) base_.resize(static_cast<std::size_t>(size));
        if (B_.size() < static_cast<std::size_t>(size) * d()) B_.resize(static_cast<std::size_t>(size) * d());
        Pack farthest{};
        Pack a_base{}, a_B[kMostEffects] = {};
        for (int i = 0; i < size; i += kLanes) {
            Pack at = load(&rows_.eta[i]);
            const Pack a = load(&rows_.a[i]);
            for (int t = 0; t < d(); ++t) at += centre[t] * load(rows_.effect(t) + i);
            store(&base_[i], at);
            a_base += a * at;
            Pack far = lanes::magnitude(at);
            for (int t = 0; t < d(); ++t) {
                Pack b{};
                for (int s = 0; s < d(); ++s) b += F_[s][t] * load(rows_.effect(s) + i);
                store(&B_[static_cast<std::size_t>(t) * size + i], b);
                a_B[t] += a * b;
                far += points_.reach[t] * lanes::magnitude(b);
            }
            farthest = far > farthest ? far : farthest;
        }
        bound_ = greatest<double>(farthest);
        sum_a_base_ = reduce(a_base);
        for (int t = 0; t < d(); ++t) sum_a_B_[t] = reduce(a_B[t]);
        fast_ = bound_ < VectorRows<D>::kRange;
        if (!fast_ || !points_.tables) return;
        const auto width = static_cast<int>(points_.last.size());
        const double* b = slope(d() - 1);
        const bool alike = std::all_of(b, b + n, [&](double each) { return each == *b; });  // as where an intercept varies
        const int tables = alike ? 1 : n;
        step_ = alike ? 0 : static_cast<std::size_t>(width);
        if (along_.size() < static_cast<std::size_t>(tables) * width) along_.resize(static_cast<std::size_t>(tables) * width);
        for (int j = 0; j < tables; ++j)
            for (int k = 0; k < width; k += kLanes) store(&along_[static_cast<std::size_t>(j) * width + k], lanes::exp(b[j] * load(&points_.last[k])));
        const std::size_t cells = static_cast<std::size_t>(points_.lines) * size;
        if (across_.size() < cells) across_.resize(cells);
        for (int l = 0; l < points_.lines; ++l)
            for (int i = 0; i < size; i += kLanes) {
                Pack at = load(&base_[i]);
                for (int t = 0; t + 1 < d(); ++t) at += points_.first[t * points_.lines + l] * load(slope(t) + i);
                store(&across_[static_cast<std::size_t>(l) * size + i], lanes::exp(at));
            }
    }

    // Rows first..last at all points (value: q and factor), or at those that carry weight; G and H are kept if the order demands them.
    void evaluate(int first, int last, int order, bool value) {
        const std::size_t cells = order > 0 ? static_cast<std::size_t>(last - first) * points_.size : 0;
        if (G_.size() < cells) G_.resize(cells), H_.resize(cells);
        loops_.evaluate(*this, first, last, order > 0, value);
    }

    // G, H and I of rows at points that carry weight.
    void derive(int first, int last) {
        const std::size_t cells = static_cast<std::size_t>(last - first) * points_.size;
        for (auto* v : {&G_, &H_, &I_})
            if (v->size() < cells) v->resize(cells);
        loops_.derive(*this, first, last);
    }

    // The log of the sum over points.
    double log_sum() const {
        const double top = highest();
        Pack sum{};
        for (int k = 0; k < points_.size; k += kLanes) sum += integrand(k, top);
        return top + std::log(reduce(sum));
    }

    // Shares of the points and the list of packs that carry weight; returns the log of the sum.
    double weigh() {
        constexpr double kNegligible = 1e-22;
        const int K = points_.size;
        const double top = highest();
        Pack sum{};
        for (int k = 0; k < K; k += kLanes) {
            const Pack share = integrand(k, top);
            store(&pi[k], share);
            sum += share;
        }
        const double total = reduce(sum), inverse = 1.0 / total;
        actives_ = 0, heaviest_ = 0;
        double most = 0.0;
        for (int k = 0; k < K; k += kLanes) {
            const Pack share = load(&pi[k]) * inverse;
            store(&pi[k], share);
            active_[actives_] = k / kLanes;
            const double together = reduce(share);
            actives_ += together > kNegligible;
            if (together > most) most = together, heaviest_ = k / kLanes;
        }
        return top + std::log(total);
    }

    CLUSTERGLM_INLINE double highest() const {
        Pack highest = load(q.data());
        for (int k = kLanes; k < points_.size; k += kLanes) {
            const Pack at = load(&q[k]);
            highest = at > highest ? at : highest;
        }
        return greatest<double>(highest);
    }
    CLUSTERGLM_INLINE Pack integrand(int k, double top) const {
        const Pack d = load(&q[k]) - top;
        return d > all(-690.0) ? lanes::exp(d) * load(&factor[k]) : Pack{};
    }

    void write_posterior(std::int64_t cluster, const VectorOutputs& out) const {
        double mean[kMostEffects];
        const int K = points_.size;
        for (int t = 0; t < d(); ++t) {
            Pack sum{};
            for (int k = 0; k < K; k += kLanes) sum += load(&pi[k]) * load(u(t) + k);
            mean[t] = reduce(sum);
            if (out.means) out.means[cluster * d() + t] = mean[t];
        }
        if (!out.covariances) return;
        for (int t = 0; t < d(); ++t)
            for (int s = 0; s <= t; ++s) {
                Pack sum{};
                for (int k = 0; k < K; k += kLanes) sum += load(&pi[k]) * (load(u(t) + k) - mean[t]) * (load(u(s) + k) - mean[s]);
                double* to = out.covariances + cluster * d() * d();
                to[t * d() + s] = to[s * d() + t] = reduce(sum);
            }
    }

    void write_shares(double* shares) const {
        std::fill_n(shares, points_.kinds, 0.0);
        for (int k = 0; k < points_.size; ++k)
            if (points_.kind[k] >= 0) shares[points_.kind[k]] += pi[k];
    }

   private:
    const VectorFunctions& loops_;
};

}  // namespace clusterglm
