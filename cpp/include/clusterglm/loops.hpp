// The loops over rows of several effects (row_loops.hpp) of a response R.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "parallel.hpp"
#include "response/row.hpp"
#include "row_loops.hpp"
#include "rows.hpp"

namespace clusterglm {

// Of one row, by the formulas that hold for any lambda.
template <class R>
StableTerms stable_row(double lambda, double a, double b) {
    if (a == 0.0 && b == 0.0) return {};
    return static_cast<StableTerms>(R::stable(lambda, a, b));
}

// Of four rows in the fast range.
template <class R>
CLUSTERGLM_INLINE RowDerivatives<Pack> fast_rows(Pack lambda, Pack a, Pack b) {
    return R::derivatives(Row<Pack>{lambda, lanes::exp(lambda), a, b}, Pack{}, all(1.0));
}
template <class R>
CLUSTERGLM_INLINE Pack fast_log_p(Pack lambda, Pack a, Pack b) {
    const Pack additive = R::template node<false>(Row<Pack>{lambda, lanes::exp(lambda), a, b}, Pack{}, all(1.0)).additive;
    return R::kLinear ? additive + a * lambda : additive;
}

template <class R>
double log_p_of_rows(const double* lambda, const double* a, const double* b, int size, bool fast) {
    double sum = 0.0;
    Pack packs{};
    if (fast)
        for (int i = 0; i < size; i += kLanes) packs += fast_log_p<R>(load(lambda + i), load(a + i), load(b + i));
    else
        for (int i = 0; i < size; ++i) sum += stable_row<R>(lambda[i], a[i], b[i]).value;
    return fast ? reduce(packs) : sum;
}

template <class R>
void derivatives_of_rows(const double* lambda, const double* a, const double* b, int size, bool fast, double* G, double* H, double* I) {
    if (fast) {
        for (int i = 0; i < size; i += kLanes) {
            const RowDerivatives<Pack> at = fast_rows<R>(load(lambda + i), load(a + i), load(b + i));
            store(G + i, at.G), store(H + i, at.H), store(I + i, at.I);
        }
        return;
    }
    for (int i = 0; i < size; ++i) {
        const StableTerms at = stable_row<R>(lambda[i], a[i], b[i]);
        G[i] = at.G, H[i] = at.H, I[i] = at.I;
    }
}

template <class R>
void derivatives_along(const double* lambda, const double* a, const double* b, const double* slope, int size, bool fast, double* G, double* H, double* I,
                       double* first, double* second) {
    if (!fast) derivatives_of_rows<R>(lambda, a, b, size, false, G, H, I);
    Pack gradient{}, square{};
    for (int i = 0; i < size; i += kLanes) {
        const Pack by = load(slope + i);
        if (fast) {
            const RowDerivatives<Pack> at = fast_rows<R>(load(lambda + i), load(a + i), load(b + i));
            store(G + i, at.G), store(H + i, at.H), store(I + i, at.I);
            gradient += by * at.G, square += at.H * (by * by);
        } else {
            gradient += by * load(G + i), square += load(H + i) * (by * by);
        }
    }
    *first = reduce(gradient), *second = reduce(square);
}

CLUSTERGLM_INLINE bool none_far(Pack lambda) { return lanes::every(lanes::magnitude(lambda) < all(ClusterRows::kRange)); }

template <class R>
void log_p_by_fours(const Pack* lambda, const Pack* a, const Pack* b, int n, Pack* to) {
    Pack sum{};
    for (int j = 0; j < n; ++j) {
        if (none_far(lambda[j])) {
            sum += fast_log_p<R>(lambda[j], a[j], b[j]);
            continue;
        }
        for (int l = 0; l < kLanes; ++l) sum[l] += stable_row<R>(lambda[j][l], a[j][l], b[j][l]).value;
    }
    *to = sum;
}

template <class R>
void derivatives_by_fours(const Pack* lambda, const Pack* a, const Pack* b, int n, const FourDerivatives& to) {
    for (int j = 0; j < n; ++j) {
        if (none_far(lambda[j])) {
            const RowDerivatives<Pack> at = fast_rows<R>(lambda[j], a[j], b[j]);
            to.G[j] = at.G, to.H[j] = at.H, to.I[j] = at.I, to.K[j] = at.K;
            continue;
        }
        for (int l = 0; l < kLanes; ++l) {
            const StableTerms at = stable_row<R>(lambda[j][l], a[j][l], b[j][l]);
            to.G[j][l] = at.G, to.H[j][l] = at.H, to.I[j][l] = at.I, to.K[j][l] = at.K;
        }
    }
}

// How many factors of rows may be multiplied before their product could overflow or vanish.
template <class R>
int factors_at_once(double bound) {
    const double each = R::log_factor_bound(-bound, bound);
    return each > 6e-4 ? static_cast<int>(600.0 / each) : 1000000;
}

// D: the number of effects if the compiler is to know, or 0.
template <class R, int D>
class VectorLoops {
   public:
    static void evaluate(VectorCells& cells, int first, int last, bool kept, bool value) {
        VectorLoops loops(cells);
        kept ? loops.with<true>(first, last, value) : loops.with<false>(first, last, value);
    }

    static void derive(VectorCells& cells, int first, int last) {
        const VectorLoops loops(cells);
        const std::size_t K = cells.points_.size;
        for (int j = first; j < last; ++j)
            for (int i = 0; i < cells.actives_; ++i) {
                const int k = cells.active_[i] * kLanes;
                const std::size_t to = (j - first) * K + k;
                Pack lambda = all(cells.base_[j]);
                for (int t = 0; t < loops.d(); ++t) lambda += cells.slope(t)[j] * load(cells.points_.coordinate(t) + k);
                Pack g{}, h{}, third{};
                if (cells.fast_) {
                    const auto at = fast_rows<R>(lambda, all(cells.a_[j]), all(cells.b_[j]));
                    g = at.G, h = at.H, third = at.I;
                } else {
                    for (int l = 0; l < kLanes; ++l) {
                        const StableTerms at = stable_row<R>(lambda[l], cells.a_[j], cells.b_[j]);
                        g[l] = at.G, h[l] = at.H, third[l] = at.I;
                    }
                }
                store(&cells.G_[to], g), store(&cells.H_[to], h), store(&cells.I_[to], third);
            }
    }

   private:
    VectorCells& cells_;
    const PointSet& points_;

    explicit VectorLoops(VectorCells& cells) : cells_(cells), points_(cells.points_) {}

    CLUSTERGLM_INLINE int d() const { return D > 0 ? D : cells_.d_; }

    // Of the many combinations those that matter for speed are compiled apart.
    template <bool Kept>
    void with(int first, int last, bool value) {
        if (!cells_.fast_) slow<Kept>(first, last, value);
        else if (!points_.tables) fast<false, false, Kept>(first, last, value);
        else if (cells_.unit_ && R::kCollapses == 0) fast<R::kCollapses == 0, true, Kept>(first, last, value);
        else fast<false, true, Kept>(first, last, value);
    }

    template <bool Unit, bool Tables, bool Kept>
    void fast(int first, int last, bool value) {
        constexpr bool kInverse = Unit && !Kept && requires { R::inverse_factor(Pack{}); };
        const int packs = value ? points_.packs() : cells_.actives_;
        const int room = Unit ? factors_at_once<R>(cells_.bound_) : 1 << 30;
        std::int64_t work = 0;
        for (int i = 0; i < packs;) {
            int together = 1;
            if constexpr (kInverse && Tables) {
                while (together < 6 && i + together < packs && points_.line[i + together] == points_.line[i]) ++together;
            }
            if (kInverse && Tables && last - first <= room) along_line(i, together, last - first);
            else
                for (int m = 0; m < together; ++m) one_pack<Unit, Tables, Kept>(value ? i + m : cells_.active_[i], first, last, room, value);
            i += together, work += together * kLanes * static_cast<std::int64_t>(last - first);
            if (work > 1 << 16) checkpoint(work), work = 0;
        }
        checkpoint(work);
    }

    template <bool Unit, bool Tables, bool Kept>
    CLUSTERGLM_INLINE void one_pack(int pack, int first, int last, int room, bool value) {
        constexpr bool kInverse = Unit && !Kept && requires { R::inverse_factor(Pack{}); };
        const int K = points_.size, k = pack * kLanes;
        const std::size_t step = cells_.step_;
        const double *base = cells_.base_.data(), *a = cells_.a_, *b = cells_.b_;
        const double* along = Tables ? cells_.along_.data() + points_.place[pack] : nullptr;
        const double* across = Tables ? cells_.across_.data() + static_cast<std::size_t>(points_.line[pack]) * cells_.stride_ : nullptr;
        double *G = cells_.G_.data() + k, *H = cells_.H_.data() + k;
        Pack log_p{}, product = all(1.0), c[kMostEffects];
        for (int t = 0; t < d(); ++t) c[t] = load(points_.coordinate(t) + k);
        for (int from = first; from < last; from += room) {
            const int to = std::min(last, from > last - room ? last : from + room);
            for (int j = from; j < to; ++j) {
                Pack lambda = all(base[j]);
                for (int t = 0; t < d(); ++t) lambda += cells_.slope(t)[j] * c[t];
                const Pack e = Tables ? across[j] * load(along + j * step) : lanes::exp(lambda);
                if constexpr (kInverse) {
                    product *= R::inverse_factor(e);
                } else {
                    const NodeTerms<Pack> at = R::template node<Unit>(Row<Pack>{lambda, e, all(a[j]), all(b[j])}, Pack{}, all(1.0));
                    log_p += at.additive;
                    if constexpr (Unit) product *= at.factor;
                    if constexpr (Kept) store(G, at.G), store(H, at.H), G += K, H += K;
                }
            }
            if constexpr (kInverse) product = 1.0 / product;
            if (to == last) break;
            if constexpr (Unit) log_p += lanes::log(product), product = all(1.0);
        }
        if (value) add_log_p(k, log_p, product);
    }

    // Packs of one line, as many as registers can hold, for values alone: each one's product waits for the row before.
    CLUSTERGLM_INLINE void along_line(int i, int together, int n) {
        if (together == 6) several_packs<6>(i, n);
        else if (together == 5) several_packs<5>(i, n);
        else if (together == 4) several_packs<4>(i, n);
        else if (together == 3) several_packs<3>(i, n);
        else if (together == 2) several_packs<2>(i, n);
        else several_packs<1>(i, n);
    }
    template <int Packs>
    CLUSTERGLM_INLINE void several_packs(int i, int n) {
        if constexpr (requires { R::inverse_factor(Pack{}); }) {
            const std::size_t step = cells_.step_;
            const double* along = cells_.along_.data() + points_.place[i];
            const double* across = cells_.across_.data() + static_cast<std::size_t>(points_.line[i]) * cells_.stride_;
            Pack product[Packs];
            for (int m = 0; m < Packs; ++m) product[m] = all(1.0);
            for (int j = 0; j < n; ++j, along += step) {
                const Pack by = all(across[j]);
                for (int m = 0; m < Packs; ++m) product[m] *= R::inverse_factor(by * load(along + m * kLanes));
            }
            for (int m = 0; m < Packs; ++m) add_log_p((i + m) * kLanes, Pack{}, 1.0 / product[m]);
        }
    }

    CLUSTERGLM_INLINE void add_log_p(int k, Pack log_p, Pack product) {
        if constexpr (R::kLinear) {
            log_p += cells_.sum_a_base_;
            for (int t = 0; t < d(); ++t) log_p += cells_.sum_a_B_[t] * load(points_.coordinate(t) + k);
        }
        store(&cells_.q[k], load(&cells_.q[k]) + log_p);
        store(&cells_.factor[k], product);
    }

    // By formulas that hold for any lambda, where some are out of the fast range.
    template <bool Kept>
    void slow(int first, int last, bool value) {
        const int K = points_.size, packs = value ? points_.packs() : cells_.actives_;
        for (int i = 0; i < packs; ++i) {
            checkpoint(40 * static_cast<std::int64_t>(last - first));
            const int k = (value ? i : cells_.active_[i]) * kLanes;
            Pack log_p{}, c[kMostEffects];
            for (int t = 0; t < d(); ++t) c[t] = load(points_.coordinate(t) + k);
            double *G = cells_.G_.data() + k, *H = cells_.H_.data() + k;
            for (int j = first; j < last; ++j) {
                Pack lambda = all(cells_.base_[j]);
                for (int t = 0; t < d(); ++t) lambda += cells_.slope(t)[j] * c[t];
                for (int l = 0; l < kLanes; ++l) {
                    const StableTerms at = stable_row<R>(lambda[l], cells_.a_[j], cells_.b_[j]);
                    log_p[l] += at.value;
                    if constexpr (Kept) G[l] = at.G, H[l] = at.H;
                }
                if constexpr (Kept) G += K, H += K;
            }
            if (!value) continue;
            store(&cells_.q[k], load(&cells_.q[k]) + log_p);
            store(&cells_.factor[k], all(1.0));
        }
    }
};

template <class R>
class NestedLoops {
   public:
    static void evaluate(NestedCells& cells, int first, int last, bool value, double* G, double* H) {
        NestedLoops loops(cells);
        G ? loops.with<true>(first, last, value, G, H) : loops.with<false>(first, last, value, G, H);
    }

   private:
    NestedCells& cells_;

    explicit NestedLoops(NestedCells& cells) : cells_(cells) {}

    template <bool Kept>
    void with(int first, int last, bool value, double* G, double* H) {
        if (!cells_.fast_) slow<Kept>(first, last, value, G, H);
        else if (cells_.unit_ && R::kCollapses == 0) fast<R::kCollapses == 0, Kept>(first, last, value, G, H);
        else fast<false, Kept>(first, last, value, G, H);
    }

    template <bool Unit, bool Kept>
    void fast(int first, int last, bool value, double* G, double* H) {
        const std::size_t K1 = cells_.upper_.size, K2 = cells_.lower_.size;
        const int room = Unit ? factors_at_once<R>(cells_.bound_) : 1 << 30;
        const double *a = cells_.a_, *b = cells_.b_;
        std::size_t cell = 0;
        for (int l = 0; l < cells_.lower_.count; ++l) {
            const double *lambda2 = &cells_.lambda2_[l], *e2 = &cells_.e2_[l];
            checkpoint(static_cast<std::int64_t>(K1) * (last - first));
            for (int k = 0; k < cells_.packs_; ++k, ++cell) {
                const double *lambda1 = &cells_.lambda1_[k * kLanes], *e1 = &cells_.e1_[k * kLanes];
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
                if constexpr (R::kLinear) log_p += load(&cells_.lin1_[k * kLanes]) + cells_.lin2_[l];
                store(&cells_.q2_[cell * kLanes], log_p + cells_.prior(l, k)), store(&cells_.factor_[cell * kLanes], product);
            }
        }
    }

    // By formulas that hold for any lambda, where some are out of the fast range.
    template <bool Kept>
    void slow(int first, int last, bool value, double* G, double* H) {
        const std::size_t K1 = cells_.upper_.size, K2 = cells_.lower_.size;
        std::size_t cell = 0;
        for (int l = 0; l < cells_.lower_.count; ++l)
            for (int k = 0; k < cells_.packs_; ++k, ++cell) {
                checkpoint(40 * static_cast<std::int64_t>(last - first));
                Pack log_p{};
                for (int j = first; j < last; ++j) {
                    const Pack lambda = load(&cells_.lambda1_[j * K1 + k * kLanes]) + cells_.lambda2_[j * K2 + l];
                    for (int i = 0; i < kLanes; ++i) {
                        const StableTerms at = stable_row<R>(lambda[i], cells_.a_[j], cells_.b_[j]);
                        log_p[i] += at.value;
                        if constexpr (Kept) G[i] = at.G, H[i] = at.H;
                    }
                    if constexpr (Kept) G += kLanes, H += kLanes;
                }
                if (value) store(&cells_.q2_[cell * kLanes], log_p + cells_.prior(l, k)), store(&cells_.factor_[cell * kLanes], all(1.0));
            }
    }
};

template <class R>
const RowLoops& loops_of() {
    static constexpr RowLoops loops{
        &log_p_of_rows<R>,
        &derivatives_of_rows<R>,
        &derivatives_along<R>,
        &log_p_by_fours<R>,
        &derivatives_by_fours<R>,
        {{&VectorLoops<R, 0>::evaluate, &VectorLoops<R, 0>::derive},
         {&VectorLoops<R, 1>::evaluate, &VectorLoops<R, 1>::derive},
         {&VectorLoops<R, 2>::evaluate, &VectorLoops<R, 2>::derive}},
        &NestedLoops<R>::evaluate};
    return loops;
}

}  // namespace clusterglm
