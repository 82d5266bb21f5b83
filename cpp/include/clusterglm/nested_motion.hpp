// What the sum over the points of a unit and its children feels of their motion with the joint mode and its curvature.
#pragma once
#include <algorithm>
#include <vector>

#include "nested_nodes.hpp"

namespace clusterglm {

class NestedMotion : protected NestedNodes {
   protected:
    NestedMotion(const RowLoops& loops, const Problem& problem, const NestedModel& model, const PointSet& upper, const PointSet& lower)
        : NestedNodes(loops, problem, model, upper, lower), model_(model), P_(problem.p) {
        S_.resize(K_ * P_ * kLanes);
    }

    const NestedModel& model_;
    const int P_;
    std::vector<double> S_;    // cells x P packs: sum of x G of the child at hand
    std::vector<int> active_;  // packs of the unit's points that carry weight

    CLUSTERGLM_INLINE Pack at_cell(const double* of_cells, int l, int k) const {
        return load(of_cells + (static_cast<std::size_t>(l) * packs_ + k) * kLanes);
    }

    void begin_motion(std::size_t children) {
        std::fill(std::begin(mean1_), std::end(mean1_), 0.0), N1_ = {};
        if (N2_.size() < children) mean2_.resize(children * d2_), N2_.resize(children), N21_.resize(children);
    }

    // A child's part of the means of h and h c'.
    void add_motion_of(int c, const double* shares) {
        const Small &D = at_.D[c], &F2 = at_.F2[c];
        Pack mean1[kMostEffects], mean2[kMostEffects];
        Pack N1[kMostEffects][kMostEffects], N2[kMostEffects][kMostEffects], N21[kMostEffects][kMostEffects];
        for (int t = 0; t < d1_; ++t) std::fill_n(N1[t], d1_, Pack{}), mean1[t] = Pack{};
        for (int t = 0; t < d2_; ++t) std::fill_n(N2[t], d2_, Pack{}), std::fill_n(N21[t], d1_, Pack{}), mean2[t] = Pack{};
        for (const int k : active_)
            for (int l = 0; l < lower_.count; ++l) {
                const double* S = &S_[(static_cast<std::size_t>(l) * packs_ + k) * P_ * kLanes];
                const Pack share = load(&pi_[k * kLanes]) * at_cell(shares, l, k);
                const auto counts = share > Pack{};
                Pack a1[kMostEffects], a2[kMostEffects];  // share times A1'G and A2'G - v
                const auto slopes = [&](const NestedLevel& level, int t) {
                    Pack sum{};
                    for (int s = t; s < level.d; ++s) sum += level.L[s][t] * load(S + level.columns[s] * kLanes);
                    return sum;
                };
                for (int t = 0; t < d1_; ++t) a1[t] = counts ? share * slopes(model_.upper, t) : Pack{};
                for (int t = 0; t < d2_; ++t) a2[t] = counts ? share * (slopes(model_.lower, t) - v(t, l, k)) : Pack{};
                for (int t = 0; t < d1_; ++t) {
                    Pack h{};
                    for (int s = 0; s < d1_; ++s) h += at_.F1[s][t] * a1[s];
                    for (int s = 0; s < d2_; ++s) h += D[s][t] * a2[s];
                    mean1[t] += h;
                    for (int s = 0; s < d1_; ++s) N1[t][s] += h * load(upper_.coordinate(s) + k * kLanes);
                }
                for (int t = 0; t < d2_; ++t) {
                    Pack h{};
                    for (int s = 0; s < d2_; ++s) h += F2[s][t] * a2[s];
                    mean2[t] += h;
                    for (int s = 0; s < d2_; ++s) N2[t][s] += h * lower_.coordinate(s)[l];
                    for (int s = 0; s < d1_; ++s) N21[t][s] += h * load(upper_.coordinate(s) + k * kLanes);
                }
            }
        for (int t = 0; t < d1_; ++t) {
            mean1_[t] += reduce(mean1[t]);
            for (int s = 0; s < d1_; ++s) N1_[t][s] += reduce(N1[t][s]);
        }
        for (int t = 0; t < d2_; ++t) {
            mean2_[static_cast<std::size_t>(c) * d2_ + t] = reduce(mean2[t]);
            for (int s = 0; s < d2_; ++s) N2_[c][t][s] = reduce(N2[t][s]);
            for (int s = 0; s < d1_; ++s) N21_[c][t][s] = reduce(N21[t][s]);
        }
    }

    // F, the factor of all effects together, is upper triangular where children come before their unit. With the curvature S it changes by
    // dF = -F U, U the upper triangle of F'dS F and half its diagonal; so the log of the sum changes by -tr(F Q F' dS)/2, Q = 1 + E[h c'] on
    // and above the diagonal, made symmetric; and by E[g_e]'de with the mode e.
    void finish_motion(double* score) {
        for (int t = 0; t < d1_; ++t) {  // the unit's own part of h, -F1'u
            Pack mean{}, by[kMostEffects] = {};
            for (const int k : active_) {
                Pack h{};
                for (int s = 0; s < d1_; ++s) h -= at_.F1[s][t] * load(u(s) + k * kLanes);
                h *= load(&pi_[k * kLanes]);
                mean += h;
                for (int s = 0; s < d1_; ++s) by[s] += h * load(upper_.coordinate(s) + k * kLanes);
            }
            mean1_[t] += reduce(mean);
            for (int s = 0; s < d1_; ++s) N1_[t][s] += reduce(by[s]);
        }
        complete(N1_, d1_);
        // Of rows: b = F'A in y's first arrays, F Q b in those that follow, V = I b'Qb / 2 in the last.
        const int size = rows_.size, d = d1_ + d2_;
        const auto stride = static_cast<std::size_t>(size);
        if (y_.size() < stride * (2 * d + 1)) y_.resize(stride * (2 * d + 1));
        double *b = y_.data(), *FQb = b + stride * d, *V = FQb + stride * d;
        for (std::size_t c = 0; c < rows_.children.size(); ++c) {
            const Child& child = rows_.children[c];
            complete(N2_[c], d2_);
            const Small &D = at_.D[c], &F2 = at_.F2[c], &Q1 = N1_, &Q2 = N2_[c], &Q21 = N21_[c];
            Pack pull[2 * kMostEffects] = {};
            for (int i = child.begin; i < child.begin + child.size; i += kLanes) {
                Pack at[2 * kMostEffects], y[2 * kMostEffects], square{};
                for (int t = 0; t < d1_; ++t) at[t] = slope1(t, i, D);
                for (int t = 0; t < d2_; ++t) at[d1_ + t] = slope2(t, i, F2);
                for (int t = 0; t < d1_; ++t) {
                    y[t] = Pack{};
                    for (int s = 0; s < d1_; ++s) y[t] += Q1[t][s] * at[s];
                    for (int s = 0; s < d2_; ++s) y[t] += Q21[s][t] * at[d1_ + s];
                    square += at[t] * y[t];
                }
                for (int t = 0; t < d2_; ++t) {
                    y[d1_ + t] = Pack{};
                    for (int s = 0; s < d1_; ++s) y[d1_ + t] += Q21[t][s] * at[s];
                    for (int s = 0; s < d2_; ++s) y[d1_ + t] += Q2[t][s] * at[d1_ + s];
                    square += at[d1_ + t] * y[d1_ + t];
                }
                const Pack half = 0.5 * load(&rows_.I[i]) * square;
                store(V + i, half);
                for (int t = 0; t < d; ++t) {
                    store(b + t * stride + i, at[t]);
                    store(FQb + t * stride + i, times_factor(y, t, D, F2));
                    pull[t] += half * at[t];
                }
            }
            for (int t = 0; t < d1_; ++t) mean1_[t] += reduce(pull[t]);
            for (int t = 0; t < d2_; ++t) mean2_[c * d2_ + t] += reduce(pull[d1_ + t]);
        }
        // mean1_ and mean2_ are F'(E g_e + sum of V A) by now; de = F F' times what moves the mode.
        for (std::size_t c = 0; c < rows_.children.size(); ++c) {
            const Child& child = rows_.children[c];
            Pack along[2 * kMostEffects];
            for (int t = 0; t < d; ++t) along[t] = all(t < d1_ ? mean1_[t] : mean2_[c * d2_ + t - d1_]);
            for (int i = child.begin; i < child.begin + child.size; i += kLanes) {
                Pack move{};
                for (int t = 0; t < d; ++t) move += along[t] * load(b + t * stride + i);
                const Pack H = load(&rows_.H[i]), whole = load(V + i) + H * move;
                store(V + i, whole);
                for (int t = 0; t < d; ++t) {
                    const double centre = t < d1_ ? at_.centre1[t] : at_.centre2[c * d2_ + t - d1_];
                    const Pack by = H * load(FQb + t * stride + i) + load(&rows_.G[i]) * times_factor(along, t, at_.D[c], at_.F2[c]);
                    store(FQb + t * stride + i, whole * centre + by);
                }
            }
        }
        const auto dot = [&](const double* x, const double* y) CLUSTERGLM_INLINE_LAMBDA {
            Pack total{};
            for (int i = 0; i < size; i += kLanes) total += load(x + i) * load(y + i);
            return reduce(total);
        };
        double* to = score;
        for (int r = 0; r < model_.p; ++r) *to++ += dot(rows_.column(r), V);
        int first = 0;
        for (const NestedLevel* level : {&model_.upper, &model_.lower}) {
            for (int e = 0; e < level->entries; ++e)
                *to++ += dot(rows_.column(static_cast<int>(level->columns[level->row[e]])), FQb + (first + level->col[e]) * stride);
            first = d1_;
        }
    }

   private:
    // Means over points, h = dg/dc.
    double mean1_[kMostEffects];  // E h of the unit
    Small N1_;                    // E h c'
    std::vector<double> mean2_;   // of children: children x d2
    std::vector<Small> N2_, N21_;  // E h c', by their own c and by the unit's
    std::vector<double> y_;       // of rows

    // Half a symmetric matrix, 1 + its upper triangle, made whole.
    static void complete(Small& N, int d) {
        for (int t = 0; t < d; ++t) {
            N[t][t] += 1.0;
            for (int s = 0; s < t; ++s) N[t][s] = N[s][t];
        }
    }

    // Entry t of F y, y = (of the unit, of a child).
    CLUSTERGLM_INLINE Pack times_factor(const Pack* y, int t, const Small& D, const Small& F2) const {
        Pack sum{};
        if (t < d1_) {
            for (int s = 0; s < d1_; ++s) sum += at_.F1[t][s] * y[s];
            return sum;
        }
        for (int s = 0; s < d1_; ++s) sum += D[t - d1_][s] * y[s];
        for (int s = 0; s < d2_; ++s) sum += F2[t - d1_][s] * y[d1_ + s];
        return sum;
    }
};

}  // namespace clusterglm
