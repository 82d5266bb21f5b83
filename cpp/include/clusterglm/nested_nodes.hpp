// The points of a unit and of its children: where they lie, and what rows are there.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "lanes.hpp"
#include "nested_cells.hpp"
#include "nested_rows.hpp"
#include "row_loops.hpp"

namespace clusterglm {

// Where points lie: u = centre + F c in the unit, v = centre + T (u - centre of u) + F c in each child.
struct NestedPosition {
    double centre1[kMostEffects];
    Small F1;
    std::vector<double> centre2;  // children x d2
    std::vector<Small> F2, D;     // D = T F1
};

// A child's log-integral given each point of its unit is a sum over its own points.
class NestedNodes : protected NestedCells {
   protected:
    NestedNodes(const RowLoops& loops, const Problem& problem, const NestedModel& model, const PointSet& upper, const PointSet& lower)
        : NestedCells(upper, lower, model.lower.d, problem.unit), problem_(problem), d1_(model.upper.d), rows_(loops, problem, model),
          loops_(loops) {
        u_.resize(static_cast<std::size_t>(upper_.size) * d1_), q1_.resize(static_cast<std::size_t>(upper_.size)), pi_ = q1_;
    }

    const Problem& problem_;
    const int d1_;
    NestedRows rows_;
    NestedPosition at_;
    std::vector<double> u_, q1_, pi_;     // of the unit's points: u; log of the integrand; share
    std::vector<double> base_, B1_, B2_;  // of rows: lambda = base + B1 c1 + B2 c2; d arrays over the child's rows

    const double* u(int t) const { return &u_[static_cast<std::size_t>(t) * upper_.size]; }

    // The points of the unit.
    void place_unit() {
        for (int k = 0; k < upper_.size; k += kLanes) {
            Pack square{};
            for (int t = 0; t < d1_; ++t) {
                Pack at = all(at_.centre1[t]);
                for (int s = 0; s < d1_; ++s) at += at_.F1[t][s] * load(upper_.coordinate(s) + k);
                store(&u_[static_cast<std::size_t>(t) * upper_.size + k], at);
                square += at * at;
            }
            store(&q1_[k], load(&upper_.log_weight[k]) - 0.5 * square);
        }
    }

    // Those of a child.
    void place_child(int c) {
        const Small &D = at_.D[c], &F = at_.F2[c];
        const double* centre = &at_.centre2[static_cast<std::size_t>(c) * d2_];
        for (int t = 0; t < d2_; ++t) {
            for (int k = 0; k < upper_.size; k += kLanes) {
                Pack at = all(centre[t]);
                for (int s = 0; s < d1_; ++s) at += D[t][s] * load(upper_.coordinate(s) + k);
                store(&vk_[static_cast<std::size_t>(t) * upper_.size + k], at);
            }
            for (int l = 0; l < lower_.size; l += kLanes) {
                Pack at{};
                for (int s = 0; s < d2_; ++s) at += F[t][s] * load(lower_.coordinate(s) + l);
                store(&vl_[static_cast<std::size_t>(t) * lower_.size + l], at);
            }
        }
    }

    // Where the child's rows are at its points.
    void place_rows(int c) {
        const Child& child = rows_.children[c];
        const Small &D = at_.D[c], &F = at_.F2[c];
        const double* centre = &at_.centre2[static_cast<std::size_t>(c) * d2_];
        const std::size_t size = child.size;
        a_ = &rows_.a[child.begin], b_ = &rows_.b[child.begin];
        if (base_.size() < size) base_.resize(size), B1_.resize(size * d1_), B2_.resize(size * d2_);
        Pack farthest{};
        for (int i = 0; i < child.size; i += kLanes) {
            const int from = child.begin + i;
            Pack at = load(&rows_.eta[from]);
            for (int t = 0; t < d1_; ++t) at += at_.centre1[t] * load(rows_.upper(t) + from);
            for (int t = 0; t < d2_; ++t) at += centre[t] * load(rows_.lower(t) + from);
            store(&base_[i], at);
            Pack far = lanes::magnitude(at);
            for (int t = 0; t < d1_; ++t) {
                const Pack b = slope1(t, from, D);
                store(&B1_[t * size + i], b);
                far += upper_.reach[t] * lanes::magnitude(b);
            }
            for (int t = 0; t < d2_; ++t) {
                const Pack b = slope2(t, from, F);
                store(&B2_[t * size + i], b);
                far += lower_.reach[t] * lanes::magnitude(b);
            }
            farthest = far > farthest ? far : farthest;
        }
        bound_ = greatest<double>(farthest);
        fast_ = bound_ < NestedRows::kRange;
        tabulate(child);
    }

    // Slopes of lambda in c1 and in c2 of four rows of a child.
    CLUSTERGLM_INLINE Pack slope1(int t, int from, const Small& D) const {
        Pack b{};
        for (int s = 0; s < d1_; ++s) b += at_.F1[s][t] * load(rows_.upper(s) + from);
        for (int s = 0; s < d2_; ++s) b += D[s][t] * load(rows_.lower(s) + from);
        return b;
    }
    CLUSTERGLM_INLINE Pack slope2(int t, int from, const Small& F) const {
        Pack b{};
        for (int s = 0; s < d2_; ++s) b += F[s][t] * load(rows_.lower(s) + from);
        return b;
    }

    // Rows first..last of the child at hand at its cells (`RowLoops::nested`).
    void evaluate(int first, int last, bool value, double* G, double* H) { loops_.nested(*this, first, last, value, G, H); }

    // Given each point of the unit, shares of the child's own; adds the log-integrals to the unit's integrand.
    void weigh_child(int c, double* shares, bool add) {
        double log_det = 0.0;
        for (int t = 0; t < d2_; ++t) log_det += std::log(std::fabs(at_.F2[c][t][t]));
        const int count = lower_.count;
        for (int k = 0; k < packs_; ++k) {
            const auto cell = [&](int l) { return (static_cast<std::size_t>(l) * packs_ + k) * kLanes; };
            Pack top = load(&q2_[cell(0)]), sum{};
            for (int l = 1; l < count; ++l) {
                const Pack at = load(&q2_[cell(l)]);
                top = at > top ? at : top;
            }
            for (int l = 0; l < count; ++l) {
                const Pack d = load(&q2_[cell(l)]) - top;
                const Pack share = d > all(-690.0) ? lanes::exp(d) * load(&factor_[cell(l)]) : Pack{};
                store(shares + cell(l), share);
                sum += share;
            }
            const Pack inverse = 1.0 / sum;
            for (int l = 0; l < count; ++l) store(shares + cell(l), load(shares + cell(l)) * inverse);
            if (add) store(&q1_[k * kLanes], load(&q1_[k * kLanes]) + top + lanes::log(sum) + log_det);
        }
    }

   private:
    const RowLoops& loops_;

    // Exponentials of lambda are products of few.
    void tabulate(const Child& child) {
        const std::size_t n = child.n, K1 = upper_.size, K2 = lower_.size;
        if (lambda1_.size() < n * K1) lambda1_.resize(n * K1), e1_.resize(n * K1);
        if (lambda2_.size() < n * K2) lambda2_.resize(n * K2), e2_.resize(n * K2);
        checkpoint(4 * static_cast<std::int64_t>(n * (K1 + K2)));
        const auto fill = [&](const LevelPoints& points, const double* base, const std::vector<double>& B, double* lambda, double* e,
                              double* linear) {
            std::fill_n(linear, points.size, 0.0);
            for (std::size_t j = 0; j < n; ++j)
                for (int k = 0; k < points.size; k += kLanes) {
                    Pack at = all(base ? base[j] : 0.0);
                    for (int t = 0; t < points.d; ++t) at += B[static_cast<std::size_t>(t) * child.size + j] * load(points.coordinate(t) + k);
                    store(lambda + j * points.size + k, at), store(e + j * points.size + k, lanes::exp(at));
                    store(linear + k, load(linear + k) + rows_.a[child.begin + j] * at);
                }
        };
        fill(upper_, base_.data(), B1_, lambda1_.data(), e1_.data(), lin1_.data());
        fill(lower_, nullptr, B2_, lambda2_.data(), e2_.data(), lin2_.data());
    }
};

}  // namespace clusterglm
