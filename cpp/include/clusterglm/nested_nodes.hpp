// The points of a unit and of its children: where they lie, and what rows are there. Lanes run over the points of the unit.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "lanes.hpp"
#include "nested_rows.hpp"
#include "vector_points.hpp"

namespace clusterglm {

// A set without the padding of its lines: d arrays of `size`, whole packs.
struct LevelPoints {
    int d, count = 0, size;
    std::vector<double> c, log_weight;
    double reach[kMostEffects] = {};

    explicit LevelPoints(const PointSet& set) : d(set.d), size(padded(set.count)) {
        c.assign(static_cast<std::size_t>(d) * size, 0.0), log_weight.assign(static_cast<std::size_t>(size), -1e300);
        for (int k = 0; k < set.size; ++k) {
            if (set.kind[k] < 0) continue;
            for (int t = 0; t < d; ++t) {
                c[static_cast<std::size_t>(t) * size + count] = set.coordinate(t)[k];
                reach[t] = std::max(reach[t], std::fabs(set.coordinate(t)[k]));
            }
            log_weight[count++] = set.log_weight[k];
        }
    }
    int packs() const { return size / kLanes; }
    const double* coordinate(int t) const { return &c[static_cast<std::size_t>(t) * size]; }
};

// Where points lie: u = centre + F c in the unit, v = centre + T (u - centre of u) + F c in each child.
struct NestedPosition {
    double centre1[kMostEffects];
    Small F1;
    std::vector<double> centre2;  // children x d2
    std::vector<Small> F2, D;     // D = T F1
};

// A child's log-integral given each point of its unit is a sum over its own points. Cells are packs: of cell (l, k), l a point of the child
// and k a pack of points of the unit, the number is l * packs + k.
template <class R>
class NestedNodes {
   protected:
    NestedNodes(const Problem& problem, const NestedModel& model, const PointSet& upper, const PointSet& lower)
        : problem_(problem), d1_(model.upper.d), d2_(model.lower.d), upper_(upper), lower_(lower), packs_(upper_.packs()),
          K_(static_cast<std::size_t>(packs_) * lower_.count), rows_(problem, model) {
        u_.resize(static_cast<std::size_t>(upper_.size) * d1_), q1_.resize(static_cast<std::size_t>(upper_.size)), pi_ = q1_;
        vk_.resize(static_cast<std::size_t>(upper_.size) * d2_), vl_.resize(static_cast<std::size_t>(lower_.size) * d2_);
        q2_.resize(K_ * kLanes), factor_.resize(K_ * kLanes), lin1_ = q1_, lin2_.resize(static_cast<std::size_t>(lower_.size));
    }

    const Problem& problem_;
    const int d1_, d2_;
    const LevelPoints upper_, lower_;
    const int packs_;
    const std::size_t K_;  // cells
    NestedRows<R> rows_;
    NestedPosition at_;
    std::vector<double> u_, q1_, pi_;         // of the unit's points: u; log of the integrand; share
    std::vector<double> vk_, vl_;             // of the child at hand: v = vk + vl, arrays over points of the unit, and over its own
    std::vector<double> q2_, factor_;         // of cells: the integrand is factor e^q
    std::vector<double> lin1_, lin2_;         // sum of a lambda, as the sum of both
    std::vector<double> base_, B1_, B2_;      // of rows: lambda = base + B1 c1 + B2 c2; d arrays over the child's rows
    std::vector<double> lambda1_, e1_, lambda2_, e2_;  // rows x points: its parts, and their exponentials
    bool fast_ = false;
    double bound_ = 0.0;

    const double* u(int t) const { return &u_[static_cast<std::size_t>(t) * upper_.size]; }
    const double* vk(int t) const { return &vk_[static_cast<std::size_t>(t) * upper_.size]; }
    const double* vl(int t) const { return &vl_[static_cast<std::size_t>(t) * lower_.size]; }
    // v_t at cell (l, k).
    CLUSTERGLM_INLINE Pack v(int t, int l, int k) const { return load(vk(t) + k * kLanes) + vl(t)[l]; }

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
        fast_ = bound_ < NestedRows<R>::kRange;
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

    // Rows first..last of a child at its cells (value: q and factor). If `kept`, G and H go to cells x rows packs from there on; otherwise
    // they are null.
    void evaluate(const Child& child, int first, int last, bool value, double* G, double* H) {
        const auto with = [&]<bool Kept>() {
            if (!fast_) slow<Kept>(child, first, last, value, G, H);
            else if (problem_.unit && !R::kCollapses) fast<!R::kCollapses, Kept>(child, first, last, value, G, H);
            else fast<false, Kept>(child, first, last, value, G, H);
        };
        G ? with.template operator()<true>() : with.template operator()<false>();
    }

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

    // log-weight and prior of a cell.
    CLUSTERGLM_INLINE Pack prior(int l, int k) const {
        Pack square{};
        for (int t = 0; t < d2_; ++t) {
            const Pack at = v(t, l, k);
            square += at * at;
        }
        return lower_.log_weight[l] - 0.5 * square;
    }

    template <bool Unit, bool Kept>
    void fast(const Child& child, int first, int last, bool value, double* G, double* H) {
        const std::size_t K1 = upper_.size, K2 = lower_.size;
        const double bound = R::log_factor_bound(-bound_, bound_);
        const int room = !Unit ? 1 << 30 : bound > 6e-4 ? static_cast<int>(600.0 / bound) : 1000000;
        const double *a = &rows_.a[child.begin], *b = &rows_.b[child.begin];
        std::size_t cell = 0;
        for (int l = 0; l < lower_.count; ++l) {
            const double *lambda2 = &lambda2_[l], *e2 = &e2_[l];
            checkpoint(static_cast<std::int64_t>(K1) * (last - first));
            for (int k = 0; k < packs_; ++k, ++cell) {
                const double *lambda1 = &lambda1_[k * kLanes], *e1 = &e1_[k * kLanes];
                Pack log_p{}, product = all(1.0);
                for (int from = first; from < last;) {
                    const int to = last - from > room ? from + room : last;
                    for (int j = from; j < to; ++j) {
                        const Row<Pack> row{load(lambda1 + j * K1) + lambda2[j * K2], load(e1 + j * K1) * e2[j * K2], all(a[j]), all(b[j])};
                        const NodeTerms<Pack> at = R::template node<Unit>(row, Pack{}, all(1.0));
                        log_p += at.additive;
                        if constexpr (Unit) product *= at.factor;
                        if constexpr (Kept) store(G, at.G), store(H, at.H), G += kLanes, H += kLanes;
                    }
                    if (Unit && to < last) log_p += lanes::log(product), product = all(1.0);
                    from = to;
                }
                if (!value) continue;
                if constexpr (R::kLinear) log_p += load(&lin1_[k * kLanes]) + lin2_[l];
                store(&q2_[cell * kLanes], log_p + prior(l, k)), store(&factor_[cell * kLanes], product);
            }
        }
    }

    // By formulas that hold for any lambda, where some are out of the fast range.
    template <bool Kept>
    void slow(const Child& child, int first, int last, bool value, double* G, double* H) {
        const std::size_t K1 = upper_.size, K2 = lower_.size;
        std::size_t cell = 0;
        for (int l = 0; l < lower_.count; ++l)
            for (int k = 0; k < packs_; ++k, ++cell) {
                checkpoint(40 * static_cast<std::int64_t>(last - first));
                Pack log_p{};
                for (int j = first; j < last; ++j) {
                    const Pack lambda = load(&lambda1_[j * K1 + k * kLanes]) + lambda2_[j * K2 + l];
                    for (int i = 0; i < kLanes; ++i) {
                        const StableTerms at = R::stable(lambda[i], rows_.a[child.begin + j], rows_.b[child.begin + j]);
                        log_p[i] += at.value;
                        if constexpr (Kept) G[i] = at.G, H[i] = at.H;
                    }
                    if constexpr (Kept) G += kLanes, H += kLanes;
                }
                if (value) store(&q2_[cell * kLanes], log_p + prior(l, k)), store(&factor_[cell * kLanes], all(1.0));
            }
    }
};

}  // namespace clusterglm
