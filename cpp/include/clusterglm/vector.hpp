// The marginal log-likelihood of clusters with several normal effects: sums over points about each cluster's mode, or about a centre and a
// factor that are given. Value, score and Hessian are moments over the points. theta = (beta, free entries of L row by row).
//
// The score of points about the mode is that of the sum itself, which feels them move; the Hessian is that of points held
// (docs/explanation/likelihood.md, "Several effects").
#pragma once
#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "blocks.hpp"
#include "gram.hpp"
#include "nodes.hpp"
#include "vector_hessian.hpp"
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

// Where points lie: u = centre + factor c, the factor a triangular matrix. If they follow the clusters, the centres are where the search
// for the mode starts, and both are updated. precise: a mode that differences of scores may rely on.
struct VectorPlaces {
    bool follow, precise;
    double *centres, *factors;  // clusters x d, x d x d
};

template <class R>
class VectorClusters {
   public:
    VectorClusters(const Problem& problem, const VectorModel& model, const PointSet& points, const VectorPlaces& places, int order)
        : problem_(problem), model_(model), points_(points), places_(places), order_(order), d_(model.d), q_(model.parameters()), P_(problem.p),
          rows_(problem, model), parts_(model), sums_(q_), at_points_(q_), mean_(static_cast<std::size_t>(padded(q_))) {
        const auto K = static_cast<std::size_t>(points.size);
        for (auto* v : {&q, &pi, &factor}) v->resize(K);
        u_.resize(K * d_), S_.resize(K * P_), powers_.resize(K * parts_.kPowers());
        active_.resize(static_cast<std::size_t>(points.packs()));
    }

    void begin() { sums_.begin(), parts_.begin(); }

    void end(Sum& sum) {
        if (order_ < 2) return;
        parts_.end(sum);
        sums_.end(nothing_for(sum), sum.hessian.data(), sum.stride);
    }

    void add(std::int64_t cluster, Sum& sum, const VectorOutputs& out) {
        const double weight = problem_.cluster_weights[cluster];
        double* centre = places_.centres + cluster * d_;
        double* stored = places_.factors + cluster * d_ * d_;
        rows_.load(cluster);
        if (places_.follow) {
            rows_.find_mode(centre, places_.precise);
            F_ = rows_.F;
            for (int t = 0; t < d_; ++t) std::copy_n(F_[t], d_, stored + t * d_);
        } else {
            for (int t = 0; t < d_; ++t) std::copy_n(stored + t * d_, d_, F_[t]);
        }
        place(centre);
        const int whole = keep_rows() >= rows_.n ? order_ : 0;
        evaluate(0, rows_.n, whole, true);
        double value = weigh();
        for (int t = 0; t < d_; ++t) value += std::log(std::fabs(F_[t][t]));
        sum.value += weight * value;
        if (out.values) out.values[cluster] = weight * value;
        if (out.means || out.covariances) write_posterior(cluster, out);
        if (out.shares) write_shares(out.shares + cluster * points_.kinds);
        if (order_ == 0) return;

        std::fill(S_.begin(), S_.end(), 0.0);
        if (order_ > 1) set_powers();
        for (int first = 0, step = keep_rows(); first < rows_.n; first += step) {
            const int last = std::min(first + step, rows_.n);
            if (whole == 0) evaluate(first, last, order_, false);
            gather_rows(first, last, weight);
        }
        gather_points(weight);
        if (places_.follow) add_motion(centre);
        for (int r = 0; r < q_; ++r) sum.score[r] += weight * mean_[r];
        if (out.scores)
            for (int r = 0; r < q_; ++r) out.scores[cluster * q_ + r] = weight * mean_[r];
    }

   private:
    const Problem& problem_;
    const VectorModel& model_;
    const PointSet& points_;
    const VectorPlaces& places_;
    const int order_, d_, q_, P_;
    VectorRows<R> rows_;
    Small F_;
    std::vector<double> q, pi, factor;           // of points: the integrand is factor e^q; its share
    std::vector<double> u_, S_, powers_;         // d arrays over points, P: sum of x G, and 1, u_t, u_t u_s times the share
    std::vector<double> along_, across_;         // exponentials: rows x points of the longest line, lines x rows
    std::vector<double> base_, B_, G_, H_;       // of rows: lambda at the centre; d arrays of slopes in c; G and H, rows x points
    std::vector<std::int32_t> active_;           // packs of points that carry weight
    int actives_ = 0;
    bool fast_ = false;
    double bound_ = 0.0, sum_a_base_ = 0.0, sum_a_B_[kMostEffects] = {};
    VectorHessian parts_;
    ColumnSums sums_;
    Columns at_points_;
    std::vector<double> mean_, unused_;

    const double* slope(int t) const { return &B_[static_cast<std::size_t>(t) * rows_.size]; }
    const double* u(int t) const { return &u_[static_cast<std::size_t>(t) * points_.size]; }

    // Of so many rows G and H are kept at all points.
    int keep_rows() const {
        constexpr std::int64_t kCells = 1 << 16;
        return static_cast<int>(std::max<std::int64_t>(1, kCells / (2 * points_.size)));
    }
    double* nothing_for(const Sum& sum) {
        unused_.assign(static_cast<std::size_t>(sum.stride), 0.0);
        return unused_.data();
    }

    // Points u, and what rows are there: lambda = base + B c.
    void place(const double* centre) {
        const int K = points_.size, n = rows_.n, size = rows_.size;
        for (int k = 0; k < K; k += kLanes) {
            Pack square{};
            for (int t = 0; t < d_; ++t) {
                Pack at = all(centre[t]);
                for (int s = 0; s < d_; ++s)
                    if (F_[t][s] != 0.0) at += F_[t][s] * load(points_.coordinate(s) + k);
                store(&u_[static_cast<std::size_t>(t) * K + k], at);
                square += at * at;
            }
            store(&q[k], load(&points_.log_weight[k]) - 0.5 * square);
        }
        if (base_.size() < static_cast<std::size_t>(size)) base_.resize(static_cast<std::size_t>(size));
        if (B_.size() < static_cast<std::size_t>(size) * d_) B_.resize(static_cast<std::size_t>(size) * d_);
        Pack farthest{};
        Pack a_base{}, a_B[kMostEffects] = {};
        for (int i = 0; i < size; i += kLanes) {
            Pack at = load(&rows_.eta[i]);
            const Pack a = load(&rows_.a[i]);
            for (int t = 0; t < d_; ++t) at += centre[t] * load(rows_.effect(t) + i);
            store(&base_[i], at);
            a_base += a * at;
            Pack far = lanes::magnitude(at);
            for (int t = 0; t < d_; ++t) {
                Pack b{};
                for (int s = 0; s < d_; ++s)
                    if (F_[s][t] != 0.0) b += F_[s][t] * load(rows_.effect(s) + i);
                store(&B_[static_cast<std::size_t>(t) * size + i], b);
                a_B[t] += a * b;
                far += points_.reach[t] * lanes::magnitude(b);
            }
            farthest = far > farthest ? far : farthest;
        }
        bound_ = greatest<double>(farthest);
        sum_a_base_ = reduce(a_base);
        for (int t = 0; t < d_; ++t) sum_a_B_[t] = reduce(a_B[t]);
        fast_ = bound_ < VectorRows<R>::kRange;
        if (!fast_ || !points_.tables) return;
        const auto width = static_cast<int>(points_.last.size());
        if (along_.size() < static_cast<std::size_t>(n) * width) along_.resize(static_cast<std::size_t>(n) * width);
        for (int j = 0; j < n; ++j) {
            const double b = slope(d_ - 1)[j];
            for (int k = 0; k < width; k += kLanes) store(&along_[static_cast<std::size_t>(j) * width + k], lanes::exp(b * load(&points_.last[k])));
        }
        const std::size_t cells = static_cast<std::size_t>(points_.lines) * size;
        if (across_.size() < cells) across_.resize(cells);
        for (int l = 0; l < points_.lines; ++l)
            for (int i = 0; i < size; i += kLanes) {
                Pack at = load(&base_[i]);
                for (int t = 0; t + 1 < d_; ++t) at += points_.first[t * points_.lines + l] * load(slope(t) + i);
                store(&across_[static_cast<std::size_t>(l) * size + i], lanes::exp(at));
            }
    }

    // Rows first..last at all points (value: q and factor), or at those that carry weight; G and H are kept if the order demands them.
    void evaluate(int first, int last, int order, bool value) {
        const std::size_t cells = order > 0 ? static_cast<std::size_t>(last - first) * points_.size : 0;
        if (G_.size() < cells) G_.resize(cells);
        if (order > 1 && H_.size() < cells) H_.resize(cells);
        const auto with = [&]<int Order>() {
            if (!fast_) slow<Order>(first, last, value);
            else if (problem_.unit && !R::kCollapses) points_.tables ? fast<true, true, Order>(first, last, value) : fast<true, false, Order>(first, last, value);
            else points_.tables ? fast<false, true, Order>(first, last, value) : fast<false, false, Order>(first, last, value);
        };
        if (order == 0) with.template operator()<0>();
        else if (order == 1) with.template operator()<1>();
        else with.template operator()<2>();
    }

    template <bool Unit, bool Tables, int Order>
    void fast(int first, int last, bool value) {
        const int K = points_.size, size = rows_.size, packs = value ? points_.packs() : actives_;
        const auto width = static_cast<std::size_t>(points_.last.size());
        const double bound = R::log_factor_bound(-bound_, bound_);
        const int room = !Unit ? 1 << 30 : bound > 6e-4 ? static_cast<int>(600.0 / bound) : 1000000;
        const double *base = base_.data(), *a = rows_.a.data(), *b = rows_.b.data();
        for (int i = 0; i < packs; ++i) {
            checkpoint(kLanes * static_cast<std::int64_t>(last - first));
            const int pack = value ? i : active_[i], k = pack * kLanes;
            const double* along = Tables ? along_.data() + points_.place[pack] : nullptr;
            const double* across = Tables ? across_.data() + static_cast<std::size_t>(points_.line[pack]) * size : nullptr;
            Pack log_p{}, product = all(1.0), c[kMostEffects];
            for (int t = 0; t < d_; ++t) c[t] = load(points_.coordinate(t) + k);
            double *G = G_.data() + k, *H = H_.data() + k;
            for (int from = first; from < last; from += room) {
                const int to = std::min(last, from > last - room ? last : from + room);
                for (int j = from; j < to; ++j) {
                    Pack lambda = all(base[j]);
                    for (int t = 0; t < d_; ++t) lambda += slope(t)[j] * c[t];
                    const Pack e = Tables ? across[j] * load(along + j * width) : lanes::exp(lambda);
                    const NodeTerms<Pack> at = R::template node<Unit>(Row<Pack>{lambda, e, all(a[j]), all(b[j])}, Pack{}, all(1.0));
                    log_p += at.additive;
                    if constexpr (Unit) product *= at.factor;
                    if constexpr (Order > 0) store(G, at.G), G += K;
                    if constexpr (Order > 1) store(H, at.H), H += K;
                }
                if (Unit && to < last) log_p += lanes::log(product), product = all(1.0);
                if (to == last) break;
            }
            if (!value) continue;
            if constexpr (R::kLinear) {
                log_p += sum_a_base_;
                for (int t = 0; t < d_; ++t) log_p += sum_a_B_[t] * c[t];
            }
            store(&q[k], load(&q[k]) + log_p);
            store(&factor[k], product);
        }
    }

    // By formulas that hold for any lambda, where some are out of the fast range.
    template <int Order>
    void slow(int first, int last, bool value) {
        const int K = points_.size, packs = value ? points_.packs() : actives_;
        for (int i = 0; i < packs; ++i) {
            checkpoint(40 * static_cast<std::int64_t>(last - first));
            const int k = (value ? i : active_[i]) * kLanes;
            Pack log_p{}, c[kMostEffects];
            for (int t = 0; t < d_; ++t) c[t] = load(points_.coordinate(t) + k);
            double *G = G_.data() + k, *H = H_.data() + k;
            for (int j = first; j < last; ++j) {
                Pack lambda = all(base_[j]);
                for (int t = 0; t < d_; ++t) lambda += slope(t)[j] * c[t];
                for (int l = 0; l < kLanes; ++l) {
                    const StableTerms at = R::stable(lambda[l], rows_.a[j], rows_.b[j]);
                    log_p[l] += at.value;
                    if constexpr (Order > 0) G[l] = at.G;
                    if constexpr (Order > 1) H[l] = at.H;
                }
                if constexpr (Order > 0) G += K;
                if constexpr (Order > 1) H += K;
            }
            if (!value) continue;
            store(&q[k], load(&q[k]) + log_p);
            store(&factor[k], all(1.0));
        }
    }

    // Shares of the points and the list of packs that carry weight; returns the log of the sum.
    double weigh() {
        constexpr double kNegligible = 1e-22;
        const int K = points_.size;
        Pack highest = load(q.data()), sum{};
        for (int k = kLanes; k < K; k += kLanes) {
            const Pack at = load(&q[k]);
            highest = at > highest ? at : highest;
        }
        const double top = greatest<double>(highest);
        for (int k = 0; k < K; k += kLanes) {
            const Pack d = load(&q[k]) - top;
            const Pack share = d > all(-690.0) ? lanes::exp(d) * load(&factor[k]) : Pack{};
            store(&pi[k], share);
            sum += share;
        }
        const double total = reduce(sum), inverse = 1.0 / total;
        actives_ = 0;
        for (int k = 0; k < K; k += kLanes) {
            const Pack share = load(&pi[k]) * inverse;
            store(&pi[k], share);
            active_[actives_] = k / kLanes;
            actives_ += reduce(share) > kNegligible;
        }
        return top + std::log(total);
    }

    void write_posterior(std::int64_t cluster, const VectorOutputs& out) const {
        double mean[kMostEffects];
        const int K = points_.size;
        for (int t = 0; t < d_; ++t) {
            Pack sum{};
            for (int k = 0; k < K; k += kLanes) sum += load(&pi[k]) * load(u(t) + k);
            mean[t] = reduce(sum);
            if (out.means) out.means[cluster * d_ + t] = mean[t];
        }
        if (!out.covariances) return;
        for (int t = 0; t < d_; ++t)
            for (int s = 0; s <= t; ++s) {
                Pack sum{};
                for (int k = 0; k < K; k += kLanes) sum += load(&pi[k]) * (load(u(t) + k) - mean[t]) * (load(u(s) + k) - mean[s]);
                double* to = out.covariances + cluster * d_ * d_;
                to[t * d_ + s] = to[s * d_ + t] = reduce(sum);
            }
    }

    void write_shares(double* shares) const {
        std::fill_n(shares, points_.kinds, 0.0);
        for (int k = 0; k < points_.size; ++k)
            if (points_.kind[k] >= 0) shares[points_.kind[k]] += pi[k];
    }

    // 1, u_t and u_t u_s times the shares.
    void set_powers() {
        const int K = points_.size;
        for (int i = 0; i < actives_; ++i) {
            const int k = active_[i] * kLanes;
            double* to = &powers_[k];
            const Pack share = load(&pi[k]);
            store(to, share), to += K;
            for (int t = 0; t < d_; ++t, to += K) store(to, share * load(u(t) + k));
            for (int t = 0; t < d_; ++t)
                for (int s = 0; s <= t; ++s, to += K) store(to, share * load(u(t) + k) * load(u(s) + k));
        }
    }

    // Adds rows first..last to the points' sums of x G, and their second derivatives to the Hessian.
    void gather_rows(int first, int last, double weight) {
        const int K = points_.size;
        with_known(P_, [&]<int Known>() CLUSTERGLM_INLINE_LAMBDA {
            int column = 0;
            if constexpr (Known > 0) add_columns<Known>(0, first, last);
            else
                for (; column < P_; column += 4) {
                    const int left = std::min(P_ - column, 4);
                    if (left == 4) add_columns<4>(column, first, last);
                    else if (left == 3) add_columns<3>(column, first, last);
                    else if (left == 2) add_columns<2>(column, first, last);
                    else add_columns<1>(column, first, last);
                }
        });
        if (order_ < 2) return;
        const int powers = parts_.kPowers();
        double moments[VectorHessian::kMostPowers];
        for (int j = first; j < last; ++j) {
            const double* H = &H_[static_cast<std::size_t>(j - first) * K];
            int m = 0;
            for (; m + 6 <= powers; m += 6) moment<6>(H, m, moments);
            for (; m + 2 <= powers; m += 2) moment<2>(H, m, moments);
            if (m < powers) moment<1>(H, m, moments);
            parts_.add_row(rows_.x(j), moments, weight);
        }
    }

    // M of a row's moments at a time.
    template <int M>
    CLUSTERGLM_INLINE void moment(const double* H, int m, double* moments) const {
        const std::size_t K = points_.size;
        const double* powers = &powers_[m * K];
        Pack sum[M] = {};
        for (int i = 0; i < actives_; ++i) {
            const int k = active_[i] * kLanes;
            const Pack at = load(H + k);
            for (int r = 0; r < M; ++r) sum[r] += at * load(powers + r * K + k);
        }
        for (int r = 0; r < M; ++r) moments[m + r] = reduce(sum[r]);
    }

    template <int N>
    CLUSTERGLM_INLINE void add_columns(int column, int first, int last) {
        const std::size_t K = points_.size;
        const auto take = [&]<int Packs>(const int* packs) CLUSTERGLM_INLINE_LAMBDA {
            Pack sum[Packs][N];
            int k[Packs];
            for (int i = 0; i < Packs; ++i) {
                k[i] = packs[i] * kLanes;
                for (int r = 0; r < N; ++r) sum[i][r] = load(&S_[(column + r) * K + k[i]]);
            }
            const double* x = rows_.x(first) + column;
            const double* G = G_.data();
            for (int j = first; j < last; ++j, x += P_, G += K) {
                Pack at[Packs];
                for (int i = 0; i < Packs; ++i) at[i] = load(G + k[i]);
                for (int r = 0; r < N; ++r) {
                    const Pack by = all(x[r]);
                    for (int i = 0; i < Packs; ++i) sum[i][r] += by * at[i];
                }
            }
            for (int i = 0; i < Packs; ++i)
                for (int r = 0; r < N; ++r) store(&S_[(column + r) * K + k[i]], sum[i][r]);
        };
        constexpr int kTogether = N <= 6 ? 2 : 1;
        int i = 0;
        for (; i + kTogether <= actives_; i += kTogether) take.template operator()<kTogether>(&active_[i]);
        for (; i < actives_; ++i) take.template operator()<1>(&active_[i]);
    }

    // The points' scores: their mean, and their squares, added to the Hessian.
    void gather_points(double weight) {
        const std::size_t K = points_.size;
        std::fill(mean_.begin(), mean_.end(), 0.0);
        alignas(32) double share[Columns::kRows], scaled[Columns::kRows];
        for (int from = 0; from < actives_; from += Columns::kPacks) {
            const int packs = std::min(actives_ - from, Columns::kPacks);
            checkpoint(static_cast<std::int64_t>(packs) * q_ * q_);
            for (int i = 0; i < packs; ++i) {
                const int k = active_[from + i] * kLanes;
                const Pack at = load(&pi[k]);
                const auto counts = at > Pack{};  // elsewhere sums may be too large
                store(share + i * kLanes, at), store(scaled + i * kLanes, weight * at);
                const auto put = [&](int r, Pack x) CLUSTERGLM_INLINE_LAMBDA { store(at_points_.column(r) + i * kLanes, counts ? x : Pack{}); };
                for (int r = 0; r < model_.p; ++r) put(r, load(&S_[r * K + k]));
                for (int e = 0; e < model_.entries; ++e)
                    put(model_.p + e, load(&S_[model_.columns[model_.row[e]] * K + k]) * load(u(static_cast<int>(model_.col[e])) + k));
            }
            for (int r = 0; r < q_; ++r) {
                const double* column = at_points_.column(r);
                Pack sum{};
                for (int i = 0; i < packs * kLanes; i += kLanes) sum += load(share + i) * load(column + i);
                mean_[r] += reduce(sum);
            }
            if (order_ > 1) sums_.add(at_points_, packs, share, scaled);
        }
        if (order_ > 1) parts_.subtract_square(mean_.data(), weight);
    }

    // What the sum feels of its points' motion with the mode and its curvature.
    void add_motion(const double* centre) {
        const std::size_t K = points_.size;
        double slope_mean[kMostEffects] = {};  // E g_u
        Small N{}, T{}, E{};                   // E: g_u by c
        for (int i = 0; i < actives_; ++i) {
            const int k = active_[i] * kLanes;
            const Pack share = load(&pi[k]);
            const auto counts = share > Pack{};
            for (int t = 0; t < d_; ++t) {
                Pack g{};
                for (int s = t; s < d_; ++s) g += model_.L[s][t] * load(&S_[model_.columns[s] * K + k]);
                g = counts ? share * (g - load(u(t) + k)) : Pack{};
                slope_mean[t] += reduce(g);
                for (int s = 0; s < d_; ++s) E[t][s] += reduce(g * load(points_.coordinate(s) + k));
            }
        }
        // The log of the sum changes by -1/2 tr(T dS), S the curvature; T = F Q F', Q = 1 + the lower half of E'F, made symmetric.
        for (int r = 0; r < d_; ++r)
            for (int s = 0; s <= r; ++s) {
                double sum = r == s ? 1.0 : 0.0;
                for (int t = 0; t < d_; ++t) sum += E[t][r] * F_[t][s];
                N[r][s] = N[s][r] = sum;
            }
        for (int r = 0; r < d_; ++r)
            for (int s = 0; s < d_; ++s)
                for (int i = 0; i < d_; ++i)
                    for (int k = 0; k < d_; ++k) T[r][s] += F_[r][i] * N[i][k] * F_[s][k];
        double pull[kMostEffects], v[kMostEffects], TA[kMostEffects];
        std::copy_n(slope_mean, d_, pull);
        std::vector<double>& V = along_;  // free by now
        if (V.size() < static_cast<std::size_t>(rows_.n)) V.resize(static_cast<std::size_t>(rows_.n));
        for (int j = 0; j < rows_.n; ++j) {
            double square = 0.0;
            for (int t = 0; t < d_; ++t)
                for (int s = 0; s < d_; ++s) square += T[t][s] * rows_.effect(t)[j] * rows_.effect(s)[j];
            V[j] = 0.5 * rows_.I[j] * square;
            for (int t = 0; t < d_; ++t) pull[t] += V[j] * rows_.effect(t)[j];
        }
        rows_.solve(pull, v);
        for (int j = 0; j < rows_.n; ++j) {
            const double* x = rows_.x(j);
            double at = V[j], along = 0.0;
            for (int t = 0; t < d_; ++t) along += v[t] * rows_.effect(t)[j];
            at += rows_.H[j] * along;
            for (int t = 0; t < d_; ++t) {
                TA[t] = 0.0;
                for (int s = 0; s < d_; ++s) TA[t] += T[t][s] * rows_.effect(s)[j];
            }
            for (int r = 0; r < model_.p; ++r) mean_[r] += at * x[r];
            for (int e = 0; e < model_.entries; ++e) {
                const auto b = static_cast<int>(model_.col[e]);
                mean_[model_.p + e] += x[model_.columns[model_.row[e]]] * (at * centre[b] + rows_.H[j] * TA[b] + rows_.G[j] * v[b]);
            }
        }
    }
};

// The sum over the selected clusters.
template <class R>
bool evaluate_vector(const Problem& problem, const VectorModel& model, const PointSet& points, const VectorPlaces& places, int order,
                     const Selection& selection, const VectorOutputs& out, int threads, Sum& total, const std::function<bool()>& interrupted) {
    std::vector<std::unique_ptr<VectorClusters<R>>> workers(static_cast<std::size_t>(worker_count(selection.count, threads)));
    return sum_over_blocks(
        problem, selection, model.parameters(), threads,
        [&](int worker, std::int64_t first, std::int64_t last, Sum& sum) {
            auto& own = workers[worker];
            if (!own) own = std::make_unique<VectorClusters<R>>(problem, model, points, places, order);
            own->begin();
            for (std::int64_t i = first; i < last; ++i) own->add(selection[i], sum, out);
            own->end(sum);
        },
        total, interrupted);
}

}  // namespace clusterglm
