// The points of one cluster: where they lie, the integrand there, and the rows' first two derivatives at each.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "blocks.hpp"
#include "lanes.hpp"
#include "vector_points.hpp"
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

template <class R, int D>
class VectorNodes {
   protected:
    VectorNodes(const Problem& problem, const VectorModel& model, const PointSet& points)
        : problem_(problem), points_(points), d_(model.d), rows_(problem, model) {
        const auto K = static_cast<std::size_t>(points.size);
        for (auto* v : {&q, &pi, &factor}) v->resize(K);
        u_.resize(K * d_), active_.resize(static_cast<std::size_t>(points.packs()));
    }

    const Problem& problem_;
    const PointSet& points_;
    const int d_;
    VectorRows<R, D> rows_;
    Small F_;
    std::vector<double> q, pi, factor;       // of points: the integrand is factor e^q; its share
    std::vector<double> u_;                  // d arrays over points
    std::vector<double> along_, across_;     // exponentials: rows x points of the longest line, lines x rows
    std::vector<double> base_, B_, G_, H_;   // of rows: lambda at the centre; d arrays of slopes in c; G and H, rows x points
    std::vector<std::int32_t> active_;       // packs of points that carry weight
    int actives_ = 0, heaviest_ = 0;
    bool fast_ = false;
    double bound_ = 0.0, sum_a_base_ = 0.0, sum_a_B_[kMostEffects] = {};

    CLUSTERGLM_INLINE int d() const { return D > 0 ? D : d_; }
    const double* slope(int t) const { return &B_[static_cast<std::size_t>(t) * rows_.size]; }
    const double* u(int t) const { return &u_[static_cast<std::size_t>(t) * points_.size]; }

    // Of so many rows G and H are kept at all points: of whole packs.
    int keep_rows() const {
        constexpr std::int64_t kCells = 1 << 16;
        return static_cast<int>(std::max<std::int64_t>(1, kCells / (2 * kLanes * points_.size))) * kLanes;
    }
    // Points u, and what rows are there: lambda = base + B c.
    void place(const double* centre) {
        const int K = points_.size, n = rows_.n, size = rows_.size;
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
        fast_ = bound_ < VectorRows<R, D>::kRange;
        if (!fast_ || !points_.tables) return;
        const auto width = static_cast<int>(points_.last.size());
        if (along_.size() < static_cast<std::size_t>(n) * width) along_.resize(static_cast<std::size_t>(n) * width);
        for (int j = 0; j < n; ++j) {
            const double b = slope(d() - 1)[j];
            for (int k = 0; k < width; k += kLanes) store(&along_[static_cast<std::size_t>(j) * width + k], lanes::exp(b * load(&points_.last[k])));
        }
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
        // Of the many combinations those that matter for speed are compiled apart.
        const auto with = [&]<bool Kept>() {
            if (!fast_) slow<Kept>(first, last, value);
            else if (!points_.tables) fast<false, false, Kept>(first, last, value);
            else if (problem_.unit && !R::kCollapses) fast<!R::kCollapses, true, Kept>(first, last, value);
            else fast<false, true, Kept>(first, last, value);
        };
        order == 0 ? with.template operator()<false>() : with.template operator()<true>();
    }

    template <bool Unit, bool Tables, bool Kept>
    void fast(int first, int last, bool value) {
        constexpr bool kInverse = Unit && !Kept && requires { R::inverse_factor(Pack{}); };
        const int packs = value ? points_.packs() : actives_;
        const double bound = R::log_factor_bound(-bound_, bound_);
        const int room = !Unit ? 1 << 30 : bound > 6e-4 ? static_cast<int>(600.0 / bound) : 1000000;
        std::int64_t work = 0;
        for (int i = 0; i < packs;) {
            int together = 1;
            if constexpr (kInverse && Tables) {
                while (together < 6 && i + together < packs && points_.line[i + together] == points_.line[i]) ++together;
            }
            if (kInverse && Tables && last - first <= room) along_line(i, together, last - first);
            else
                for (int m = 0; m < together; ++m) one_pack<Unit, Tables, Kept>(value ? i + m : active_[i], first, last, room, value);
            i += together, work += together * kLanes * static_cast<std::int64_t>(last - first);
            if (work > 1 << 16) checkpoint(work), work = 0;
        }
        checkpoint(work);
    }

    template <bool Unit, bool Tables, bool Kept>
    CLUSTERGLM_INLINE void one_pack(int pack, int first, int last, int room, bool value) {
        constexpr bool kInverse = Unit && !Kept && requires { R::inverse_factor(Pack{}); };
        const int K = points_.size, k = pack * kLanes;
        const auto width = points_.last.size();
        const double *base = base_.data(), *a = rows_.a.data(), *b = rows_.b.data();
        const double* along = Tables ? along_.data() + points_.place[pack] : nullptr;
        const double* across = Tables ? across_.data() + static_cast<std::size_t>(points_.line[pack]) * rows_.size : nullptr;
        double *G = G_.data() + k, *H = H_.data() + k;
        Pack log_p{}, product = all(1.0), c[kMostEffects];
        for (int t = 0; t < d(); ++t) c[t] = load(points_.coordinate(t) + k);
        for (int from = first; from < last; from += room) {
            const int to = std::min(last, from > last - room ? last : from + room);
            for (int j = from; j < to; ++j) {
                Pack lambda = all(base[j]);
                for (int t = 0; t < d(); ++t) lambda += slope(t)[j] * c[t];
                const Pack e = Tables ? across[j] * load(along + j * width) : lanes::exp(lambda);
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
            const auto width = points_.last.size();
            const double *along = along_.data() + points_.place[i], *across = across_.data() + static_cast<std::size_t>(points_.line[i]) * rows_.size;
            Pack product[Packs];
            for (int m = 0; m < Packs; ++m) product[m] = all(1.0);
            for (int j = 0; j < n; ++j, along += width) {
                const Pack by = all(across[j]);
                for (int m = 0; m < Packs; ++m) product[m] *= R::inverse_factor(by * load(along + m * kLanes));
            }
            for (int m = 0; m < Packs; ++m) add_log_p((i + m) * kLanes, Pack{}, 1.0 / product[m]);
        }
    }

    CLUSTERGLM_INLINE void add_log_p(int k, Pack log_p, Pack product) {
        if constexpr (R::kLinear) {
            log_p += sum_a_base_;
            for (int t = 0; t < d(); ++t) log_p += sum_a_B_[t] * load(points_.coordinate(t) + k);
        }
        store(&q[k], load(&q[k]) + log_p);
        store(&factor[k], product);
    }

    // By formulas that hold for any lambda, where some are out of the fast range.
    template <bool Kept>
    void slow(int first, int last, bool value) {
        const int K = points_.size, packs = value ? points_.packs() : actives_;
        for (int i = 0; i < packs; ++i) {
            checkpoint(40 * static_cast<std::int64_t>(last - first));
            const int k = (value ? i : active_[i]) * kLanes;
            Pack log_p{}, c[kMostEffects];
            for (int t = 0; t < d(); ++t) c[t] = load(points_.coordinate(t) + k);
            double *G = G_.data() + k, *H = H_.data() + k;
            for (int j = first; j < last; ++j) {
                Pack lambda = all(base_[j]);
                for (int t = 0; t < d(); ++t) lambda += slope(t)[j] * c[t];
                for (int l = 0; l < kLanes; ++l) {
                    const StableTerms at = R::stable(lambda[l], rows_.a[j], rows_.b[j]);
                    log_p[l] += at.value;
                    if constexpr (Kept) G[l] = at.G, H[l] = at.H;
                }
                if constexpr (Kept) G += K, H += K;
            }
            if (!value) continue;
            store(&q[k], load(&q[k]) + log_p);
            store(&factor[k], all(1.0));
        }
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
};

}  // namespace clusterglm
