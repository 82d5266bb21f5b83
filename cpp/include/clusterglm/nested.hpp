// The marginal log-likelihood of units whose clusters are nested in them, with normal effects u at the level of the unit and v_c in each of
// its children: given a point u the children's integrals are apart. Value, score and Hessian are moments over the points of both levels, the
// Hessian by the law of total covariance. theta = (beta, free entries of L1 row by row, free entries of L2).
//
// The score of points about the joint mode is that of the sum itself, which feels them move; the Hessian is that of points held.
#pragma once
#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "blocks.hpp"
#include "gram.hpp"
#include "nested_motion.hpp"
#include "nested_nodes.hpp"
#include "nested_rows.hpp"
#include "vector_hessian.hpp"

namespace clusterglm {

// Where points lie; factors are triangular, slopes are dv/du. If points follow the units, the centres are where the search for the mode
// starts, and all are updated. precise: a mode that differences of scores may rely on.
struct NestedPlaces {
    bool follow, precise;
    double *centres1, *factors1;            // units x d1, x d1 x d1
    double *centres2, *slopes2, *factors2;  // children x d2, x d2 x d1, x d2 x d2
};

// Of each unit or child of the problem; null where not wanted.
struct NestedOutputs {
    double* values = nullptr;        // units: weighted log-likelihood
    double* scores = nullptr;        // units x q: its score
    double* means1 = nullptr;        // units x d1: posterior mean of u
    double* covariances1 = nullptr;  // units x d1 x d1
    double* means2 = nullptr;        // children x d2: posterior mean of v; with it
    double* covariances2 = nullptr;  // children x d2 x d2
    double* across = nullptr;        // children x d2 x d1: covariance of v and u
};

class NestedUnits : NestedMotion {
   public:
    NestedUnits(const RowLoops& loops, const Problem& problem, const NestedModel& model, const PointSet& upper, const PointSet& lower,
                const NestedPlaces& places, int order)
        : NestedMotion(loops, problem, model, upper, lower), places_(places), order_(order), q_(model.parameters()), all_effects_(joined(model)),
          parts_(all_effects_), sums_(q_), at_points_(q_),
          zeros_(Columns::kRows), mean_(static_cast<std::size_t>(q_)) {
        scores_.resize(static_cast<std::size_t>(lower_.count) * q_), child_mean_.resize(static_cast<std::size_t>(q_));
        M_.resize(static_cast<std::size_t>(q_) * packs_), share_.resize(Columns::kRows);
        const int powers2 = 1 + d2_ + d2_ * (d2_ + 1) / 2;
        lower_powers_.resize(static_cast<std::size_t>(powers2) * lower_.count);
    }

    void begin() { sums_.begin(), parts_.begin(); }

    void end(Sum& sum) {
        if (order_ < 2) return;
        flush_squares();
        parts_.end(sum);
        std::vector<double> no_score(static_cast<std::size_t>(q_));
        sums_.end(no_score.data(), sum.hessian.data(), sum.stride);
    }

    void add(std::int64_t unit, Sum& sum, const NestedOutputs& out) {
        const double weight = problem_.cluster_weights[unit];
        rows_.load(unit);
        const auto children = static_cast<int>(rows_.children.size());
        take_places(unit);
        place_unit();
        // Small units keep everything; in others children are computed again once the shares of the unit's points are known.
        const bool keep = order_ > 0 && rows_.n * K_ <= kCells;
        if (keep) grow(G_, rows_.n * K_), grow(H_, rows_.n * K_), grow(shares_, children * K_);
        else grow(shares_, K_);
        for (int c = 0; c < children; ++c) {
            const Child& child = rows_.children[c];
            const std::size_t from = keep ? child.first * K_ * kLanes : 0;
            place_child(c), place_rows(c);
            evaluate(0, child.n, true, keep ? &G_[from] : nullptr, keep ? &H_[from] : nullptr);
            weigh_child(c, &shares_[keep ? c * K_ * kLanes : 0], true);
        }
        const double value = weigh();
        sum.value += weight * value;
        if (out.values) out.values[unit] = weight * value;
        double mean_u[kMostEffects];
        if (out.means1 || out.means2) write_upper(unit, out, mean_u);
        if (order_ == 0 && !out.means2) return;

        std::fill(M_.begin(), M_.end(), Pack{});
        if (places_.follow) begin_motion(children);
        for (int c = 0; c < children; ++c) {
            const Child& child = rows_.children[c];
            const double* shares = &shares_[keep ? c * K_ * kLanes : 0];
            place_child(c);
            const std::size_t most = std::max<std::size_t>(1, kCells / K_ / kLanes) * kLanes;
            const int step = keep ? child.n : static_cast<int>(std::min<std::size_t>(most, child.n));
            const bool once = order_ > 0 && step == child.n;
            if (!keep) {
                place_rows(c);
                if (once) grow(G_, step * K_), grow(H_, step * K_);
                evaluate(0, child.n, true, once ? G_.data() : nullptr, once ? H_.data() : nullptr);
                weigh_child(c, &shares_[0], false);
            }
            if (out.means2) write_lower(model_.first_child[unit] + c, shares, mean_u, out);
            if (order_ == 0) continue;
            std::fill(S_.begin(), S_.end(), 0.0);
            for (int first = 0; first < child.n; first += step) {
                const int last = std::min(first + step, child.n);
                const std::size_t from = keep ? child.first * K_ * kLanes : 0;
                if (!keep && !once) {
                    grow(G_, step * K_), grow(H_, step * K_);
                    evaluate(first, last, false, G_.data(), H_.data());
                }
                gather_rows(child, first, last, shares, &G_[from], &H_[from], weight);
            }
            gather_points(shares, weight);
            if (places_.follow) add_motion_of(c, shares);
        }
        if (order_ == 0) return;
        gather_unit(weight);
        if (places_.follow) finish_motion(mean_.data());
        for (int r = 0; r < q_; ++r) sum.score[r] += weight * mean_[r];
        if (out.scores)
            for (int r = 0; r < q_; ++r) out.scores[unit * q_ + r] = weight * mean_[r];
    }

   private:
    static constexpr std::size_t kCells = 1 << 14;  // rows by cells that are kept, of four numbers each
    static constexpr double kNegligible = 1e-22;

    const NestedPlaces& places_;
    const int order_, q_;
    std::vector<double> G_, H_, shares_;  // of rows and children at cells, if kept, or of those at hand
    std::vector<Pack> scores_, child_mean_;          // of the child at hand, given a pack of points of the unit: points x q, and their means
    std::vector<Pack> M_;                            // q x packs: sum of these means over children
    std::vector<Pack> lower_powers_, row_moments_;   // shares times 1, v_t, v_t v_s; of rows, moments of H
    const VectorModel all_effects_;
    VectorHessian parts_;
    ColumnSums sums_;
    Columns at_points_;
    std::vector<double> zeros_, share_, mean_;
    int gathered_ = 0;       // packs in at_points_

    // The effects of both levels together, for the rows' part of the Hessian.
    static VectorModel joined(const NestedModel& model) {
        VectorModel all{model.p, 0, 0, {}, {}, {}, model.beta, {}};
        for (const NestedLevel* level : {&model.upper, &model.lower}) {
            all.columns.insert(all.columns.end(), level->columns.begin(), level->columns.end());
            for (int e = 0; e < level->entries; ++e) all.row.push_back(all.d + level->row[e]), all.col.push_back(all.d + level->col[e]);
            all.d += level->d, all.entries += level->entries;
        }
        return all;
    }
    // Of 1, e_t and e_t e_s (s <= t), e = (u, v) of d effects.
    static int power(int t, int s, int d) { return s < 0 ? 1 + t : 1 + d + t * (t + 1) / 2 + s; }

    static void grow(std::vector<double>& v, std::size_t packs) {
        if (v.size() < packs * kLanes) v.resize(packs * kLanes);
    }

    void take_places(std::int64_t unit) {
        const std::int64_t first = model_.first_child[unit];
        const std::size_t children = rows_.children.size();
        double *u = places_.centres1 + unit * d1_, *factor = places_.factors1 + unit * d1_ * d1_, *centres = places_.centres2 + first * d2_;
        if (places_.follow) {
            rows_.find_mode(u, centres, places_.precise);
            put(rows_.F, d1_, d1_, factor);
            for (std::size_t c = 0; c < children; ++c) {
                put(rows_.own[c], d2_, d2_, places_.factors2 + (first + c) * d2_ * d2_);
                put(rows_.T[c], d2_, d1_, places_.slopes2 + (first + c) * d2_ * d1_);
            }
        }
        std::copy_n(u, d1_, at_.centre1);
        take(factor, d1_, d1_, at_.F1);
        at_.centre2.assign(centres, centres + children * d2_);
        at_.F2.resize(children), at_.D.resize(children);
        for (std::size_t c = 0; c < children; ++c) {
            const double* slopes = places_.slopes2 + (first + c) * d2_ * d1_;
            take(places_.factors2 + (first + c) * d2_ * d2_, d2_, d2_, at_.F2[c]);
            for (int t = 0; t < d2_; ++t)
                for (int s = 0; s < d1_; ++s) {
                    at_.D[c][t][s] = 0.0;
                    for (int e = 0; e < d1_; ++e) at_.D[c][t][s] += slopes[t * d1_ + e] * at_.F1[e][s];
                }
        }
    }
    static void put(const Small& from, int rows, int columns, double* to) {
        for (int t = 0; t < rows; ++t) std::copy_n(from[t], columns, to + t * columns);
    }
    static void take(const double* from, int rows, int columns, Small& to) {
        for (int t = 0; t < rows; ++t) std::copy_n(from + t * columns, columns, to[t]);
    }

    // Shares of the unit's points, and which packs carry weight; returns the log of the sum, with the determinant.
    double weigh() {
        Pack highest = load(&q1_[0]), sum{};
        for (int k = 0; k < upper_.size; k += kLanes) {
            const Pack at = load(&q1_[k]);
            highest = at > highest ? at : highest;
        }
        const double top = greatest<double>(highest);
        for (int k = 0; k < upper_.size; k += kLanes) {
            const Pack d = load(&q1_[k]) - top, share = d > all(-690.0) ? lanes::exp(d) : Pack{};
            store(&pi_[k], share);
            sum += share;
        }
        const double total = reduce(sum);
        active_.clear();
        for (int k = 0; k < packs_; ++k) {
            const Pack share = load(&pi_[k * kLanes]) / total;
            store(&pi_[k * kLanes], share);
            if (reduce(share) > kNegligible) active_.push_back(k);
        }
        double value = top + std::log(total);
        for (int t = 0; t < d1_; ++t) value += std::log(std::fabs(at_.F1[t][t]));
        return value;
    }

    void write_upper(std::int64_t unit, const NestedOutputs& out, double* mean) const {
        for (int t = 0; t < d1_; ++t) {
            Pack sum{};
            for (int k = 0; k < upper_.size; k += kLanes) sum += load(&pi_[k]) * load(u(t) + k);
            mean[t] = reduce(sum);
            if (out.means1) out.means1[unit * d1_ + t] = mean[t];
        }
        if (!out.covariances1) return;
        for (int t = 0; t < d1_; ++t)
            for (int s = 0; s < d1_; ++s) {
                Pack sum{};
                for (int k = 0; k < upper_.size; k += kLanes) sum += load(&pi_[k]) * (load(u(t) + k) - mean[t]) * (load(u(s) + k) - mean[s]);
                out.covariances1[(unit * d1_ + t) * d1_ + s] = reduce(sum);
            }
    }

    void write_lower(std::int64_t child, const double* shares, const double* mean_u, const NestedOutputs& out) const {
        double* mean = out.means2 + child * d2_;
        const auto over_cells = [&](const auto& of) {
            Pack sum{};
            for (const int k : active_)
                for (int l = 0; l < lower_.count; ++l) sum += load(&pi_[k * kLanes]) * at_cell(shares, l, k) * of(l, k);
            return reduce(sum);
        };
        for (int t = 0; t < d2_; ++t) mean[t] = over_cells([&](int l, int k) { return v(t, l, k); });
        for (int t = 0; t < d2_; ++t) {
            const auto apart = [&](int of, int l, int k) { return v(of, l, k) - mean[of]; };
            for (int s = 0; s < d2_; ++s)
                out.covariances2[(child * d2_ + t) * d2_ + s] = over_cells([&](int l, int k) { return apart(t, l, k) * apart(s, l, k); });
            for (int s = 0; s < d1_; ++s)
                out.across[(child * d2_ + t) * d1_ + s] =
                    over_cells([&](int l, int k) { return apart(t, l, k) * (load(u(s) + k * kLanes) - mean_u[s]); });
        }
    }

    // Adds rows first..last of a child to the cells' sums of x G, and their second derivatives to the Hessian.
    void gather_rows(const Child& child, int first, int last, const double* shares, const double* G, const double* H, double weight) {
        checkpoint(static_cast<std::int64_t>(K_) * (last - first) * (P_ + 3));
        const int P = P_;
        with_known(P, [&]<int Known>() CLUSTERGLM_INLINE_LAMBDA {
            if constexpr (Known > 0) add_columns<Known>(0, child.first + first, last - first, G);
            else
                for (int column = 0; column < P; column += 4) {
                    const int left = std::min(P - column, 4);
                    if (left == 4) add_columns<4>(column, child.first + first, last - first, G);
                    else if (left == 3) add_columns<3>(column, child.first + first, last - first, G);
                    else if (left == 2) add_columns<2>(column, child.first + first, last - first, G);
                    else add_columns<1>(column, child.first + first, last - first, G);
                }
        });
        if (order_ < 2) return;
        const int n = last - first, powers = parts_.kPowers();
        row_moments_.assign(static_cast<std::size_t>(padded(n)) * powers, Pack{});
        for (const int k : active_) d2_ == 1 ? add_moments<1>(n, k, shares, H) : add_moments<0>(n, k, shares, H);
        for (int from = 0; from < n; from += VectorHessian::kRows) {
            const int some = std::min(n - from, VectorHessian::kRows);
            parts_.make_room(some);
            for (int j = 0; j < some; j += kLanes) {
                const Pack* moments = &row_moments_[static_cast<std::size_t>(from + j) * powers];
                for (int m = 0; m < powers; ++m, ++moments) {
                    const Pack sum = reduce_each(moments[0], moments[powers], moments[2 * powers], moments[3 * powers]);
                    store(parts_.moments() + m * VectorHessian::kRows + j, weight * sum);
                }
            }
            parts_.add_rows(some, [&](int r) { return rows_.column(r) + child.begin + first + from; });
        }
    }

    // The sums of four packs.
    static CLUSTERGLM_INLINE Pack reduce_each(Pack a, Pack b, Pack c, Pack d) {
        const Pack low = __builtin_shufflevector(a, b, 0, 4, 2, 6) + __builtin_shufflevector(a, b, 1, 5, 3, 7);
        const Pack high = __builtin_shufflevector(c, d, 0, 4, 2, 6) + __builtin_shufflevector(c, d, 1, 5, 3, 7);
        return __builtin_shufflevector(low, high, 0, 1, 4, 5) + __builtin_shufflevector(low, high, 2, 3, 6, 7);
    }

    // Two cells at a time share what they load.
    template <int N>
    CLUSTERGLM_INLINE void add_columns(int column, int first, int n, const double* G) {
        constexpr int kTogether = N <= 6 ? 2 : 1;
        for (const int k : active_) {
            int l = 0;
            for (; l + kTogether <= lower_.count; l += kTogether) add_columns<N, kTogether>(column, first, n, G, l, k);
            for (; l < lower_.count; ++l) add_columns<N, 1>(column, first, n, G, l, k);
        }
    }
    template <int N, int Cells>
    CLUSTERGLM_INLINE void add_columns(int column, int first, int n, const double* G, int l, int k) {
        const double *x = rows_.x(first) + column, *from[Cells];
        double* to[Cells];
        Pack sum[Cells][N];
        for (int i = 0; i < Cells; ++i) {
            const std::size_t cell = static_cast<std::size_t>(l + i) * packs_ + k;
            from[i] = G + cell * n * kLanes, to[i] = &S_[(cell * P_ + column) * kLanes];
            for (int r = 0; r < N; ++r) sum[i][r] = load(to[i] + r * kLanes);
        }
        for (int j = 0; j < n; ++j, x += P_) {
            Pack at[Cells];
            for (int i = 0; i < Cells; ++i) at[i] = load(from[i] + j * kLanes);
            for (int r = 0; r < N; ++r) {
                const Pack by = all(x[r]);
                for (int i = 0; i < Cells; ++i) sum[i][r] += by * at[i];
            }
        }
        for (int i = 0; i < Cells; ++i)
            for (int r = 0; r < N; ++r) store(to[i] + r * kLanes, sum[i][r]);
    }

    // D2: the child's effects if the compiler is to know, or 0. A pack of the unit's points.
    template <int D2>
    void add_moments(int n, int k, const double* shares, const double* H) {
        const int d2 = D2 > 0 ? D2 : d2_, d = d1_ + d2, count = lower_.count;
        const int powers = parts_.kPowers(), own = 1 + d2 + d2 * (d2 + 1) / 2;
        for (int l = 0; l < count; ++l) {
            Pack* to = &lower_powers_[static_cast<std::size_t>(l) * own];
            const Pack share = at_cell(shares, l, k);
            *to++ = share;
            for (int t = 0; t < d2; ++t) *to++ = share * v(t, l, k);
            for (int t = 0; t < d2; ++t)
                for (int s = 0; s <= t; ++s) *to++ = share * v(t, l, k) * v(s, l, k);
        }
        const Pack pi = load(&pi_[k * kLanes]);
        const std::size_t stride = static_cast<std::size_t>(packs_) * n * kLanes;
        Pack moments[1 + kMostEffects + kMostEffects * (kMostEffects + 1) / 2];
        for (int j = 0; j < n; ++j) {
            const double* from = H + (static_cast<std::size_t>(k) * n + j) * kLanes;
            if constexpr (D2 == 1) {
                Pack sum[3] = {};
                for (int l = 0; l < count; ++l, from += stride)
                    for (int m = 0; m < 3; ++m) sum[m] += load(from) * lower_powers_[l * 3 + m];
                std::copy_n(sum, 3, moments);
            } else {
                std::fill_n(moments, own, Pack{});
                for (int l = 0; l < count; ++l, from += stride)
                    for (int m = 0; m < own; ++m) moments[m] += load(from) * lower_powers_[static_cast<std::size_t>(l) * own + m];
            }
            Pack* to = &row_moments_[static_cast<std::size_t>(j) * powers];
            for (int m = 0; m < own; ++m) moments[m] *= pi;
            const auto lower = [&](int t, int s) { return t < 0 ? 0 : s < 0 ? 1 + t : 1 + d2 + t * (t + 1) / 2 + s; };
            to[0] += moments[0];
            for (int t = 0; t < d1_; ++t) {
                const Pack ut = load(u(t) + k * kLanes);
                to[1 + t] += ut * moments[0];
                for (int s = 0; s <= t; ++s) to[power(t, s, d)] += ut * load(u(s) + k * kLanes) * moments[0];
                for (int s = 0; s < d2; ++s) to[power(d1_ + s, t, d)] += ut * moments[lower(s, -1)];
            }
            for (int t = 0; t < d2; ++t) {
                to[1 + d1_ + t] += moments[lower(t, -1)];
                for (int s = 0; s <= t; ++s) to[power(d1_ + t, d1_ + s, d)] += moments[lower(t, s)];
            }
        }
    }

    // Scores given a point of the unit: their mean over the child's points, added to M, and their squares about it, added to the Hessian.
    void gather_points(const double* shares, double weight) {
        for (const int k : active_) {
            const Pack pi = load(&pi_[k * kLanes]);
            std::fill(child_mean_.begin(), child_mean_.end(), Pack{});
            for (int l = 0; l < lower_.count; ++l) {
                const double* S = &S_[(static_cast<std::size_t>(l) * packs_ + k) * P_ * kLanes];
                const Pack share = at_cell(shares, l, k);
                const auto counts = share > Pack{};  // elsewhere sums may be too large
                Pack* g = &scores_[static_cast<std::size_t>(l) * q_];
                for (int r = 0; r < model_.p; ++r) *g++ = load(S + r * kLanes);
                for (int e = 0; e < model_.upper.entries; ++e)
                    *g++ = load(S + model_.upper.columns[model_.upper.row[e]] * kLanes) * load(u(static_cast<int>(model_.upper.col[e])) + k * kLanes);
                for (int e = 0; e < model_.lower.entries; ++e)
                    *g++ = load(S + model_.lower.columns[model_.lower.row[e]] * kLanes) * v(static_cast<int>(model_.lower.col[e]), l, k);
                g -= q_;
                for (int r = 0; r < q_; ++r) child_mean_[r] += counts ? share * g[r] : Pack{};
            }
            for (int r = 0; r < q_; ++r) M_[static_cast<std::size_t>(r) * packs_ + k] += child_mean_[r];
            if (order_ < 2) continue;
            for (int l = 0; l < lower_.count; ++l) {
                const Pack share = pi * at_cell(shares, l, k);
                if (reduce(share) > kNegligible) add_square(&scores_[static_cast<std::size_t>(l) * q_], child_mean_.data(), 1, share, weight);
            }
        }
    }

    // The square of a pack of scores less their means, which are `stride` apart.
    CLUSTERGLM_INLINE void add_square(const Pack* g, const Pack* mean, int stride, Pack share, double weight) {
        const auto counts = share > Pack{};
        double* to = at_points_.column(0) + gathered_ * kLanes;
        for (int r = 0; r < q_; ++r, to += Columns::kRows) store(to, counts ? g[static_cast<std::size_t>(r) * stride] - mean[r] : Pack{});
        store(&share_[gathered_ * kLanes], weight * share);
        if (++gathered_ == Columns::kPacks) flush_squares();
    }
    void flush_squares() {
        if (gathered_ == 0) return;
        checkpoint(static_cast<std::int64_t>(gathered_) * q_ * q_);
        sums_.add(at_points_, gathered_, zeros_.data(), share_.data());
        gathered_ = 0;
    }

    // Scores of the whole unit at its points: their mean, the score, and their squares about it.
    void gather_unit(double weight) {
        for (int r = 0; r < q_; ++r) {
            Pack sum{};
            for (const int k : active_) {
                const Pack pi = load(&pi_[k * kLanes]);
                sum += pi > Pack{} ? pi * M_[static_cast<std::size_t>(r) * packs_ + k] : Pack{};
            }
            mean_[r] = reduce(sum);
        }
        if (order_ < 2) return;
        for (int r = 0; r < q_; ++r) child_mean_[r] = all(mean_[r]);
        for (const int k : active_) add_square(&M_[k], child_mean_.data(), packs_, load(&pi_[k * kLanes]), weight);
    }
};

// The sum over the selected units.
inline bool evaluate_nested(const RowLoops& loops, const Problem& problem, const NestedModel& model, const PointSet& upper, const PointSet& lower,
                            const NestedPlaces& places, int order, const Selection& selection, const NestedOutputs& out, int threads, Sum& total,
                            const std::function<bool()>& interrupted) {
    std::vector<std::unique_ptr<NestedUnits>> workers(static_cast<std::size_t>(worker_count(selection.count, threads)));
    return sum_over_blocks(
        problem, selection, model.parameters(), threads,
        [&](int worker, std::int64_t first, std::int64_t last, Sum& sum) {
            auto& own = workers[worker];
            if (!own) own = std::make_unique<NestedUnits>(loops, problem, model, upper, lower, places, order);
            own->begin();
            for (std::int64_t i = first; i < last; ++i) own->add(selection[i], sum, out);
            own->end(sum);
        },
        total, interrupted);
}

}  // namespace clusterglm
