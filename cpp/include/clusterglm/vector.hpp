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
#include "vector_hessian.hpp"
#include "vector_laplace.hpp"
#include "vector_nodes.hpp"
#include "vector_points.hpp"
#include "vector_rows.hpp"

namespace clusterglm {

// Where points lie: u = centre + factor c, the factor a triangular matrix. If they follow the clusters, the centres are where the search
// for the mode starts, and both are updated. precise: a mode that differences of scores may rely on.
struct VectorPlaces {
    bool follow, precise;
    double *centres, *factors;  // clusters x d, x d x d
};

template <int D>
class VectorClusters : VectorNodes<D> {
   public:
    VectorClusters(const RowLoops& loops, const Problem& problem, const VectorModel& model, const PointSet& points, const VectorPlaces& places, int order)
        : VectorNodes<D>(loops, problem, model, points), model_(model), places_(places), order_(order), q_(model.parameters()), P_(problem.p), parts_(model),
          sums_(q_), at_points_(q_), mean_(static_cast<std::size_t>(padded(q_))), away_(mean_) {
        const auto K = static_cast<std::size_t>(points.size);
        S_.resize(K * P_), powers_.resize(K * parts_.kPowers());
    }

    void begin() { sums_.begin(), parts_.begin(); }

    void end(Sum& sum) {
        if (order_ < 2) return;
        parts_.end(sum);
        std::vector<double> no_score(static_cast<std::size_t>(q_));
        sums_.end(no_score.data(), sum.hessian.data(), sum.stride);
    }

    void add(std::int64_t cluster, Sum& sum, const VectorOutputs& out) {
        const double weight = problem_.cluster_weights[cluster];
        double* centre = places_.centres + cluster * d();
        double* stored = places_.factors + cluster * d() * d();
        rows_.load(cluster);
        if (places_.follow) {
            rows_.find_mode(centre, places_.precise);
            F_ = rows_.F;
            for (int t = 0; t < d(); ++t) std::copy_n(F_[t], d(), stored + t * d());
        } else {
            for (int t = 0; t < d(); ++t) std::copy_n(stored + t * d(), d(), F_[t]);
        }
        place(centre);
        const int whole = keep_rows() >= rows_.n ? order_ : 0;
        evaluate(0, rows_.n, whole, true);
        const bool alone = order_ == 0 && !out.means && !out.covariances && !out.shares;
        double value = alone ? log_sum() : weigh();
        for (int t = 0; t < d(); ++t) value += std::log(std::fabs(F_[t][t]));
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
    using Nodes = VectorNodes<D>;
    using Nodes::problem_, Nodes::points_, Nodes::rows_, Nodes::F_, Nodes::pi, Nodes::across_, Nodes::H_, Nodes::G_, Nodes::active_, Nodes::actives_, Nodes::heaviest_;
    using Nodes::d, Nodes::u, Nodes::keep_rows, Nodes::place, Nodes::evaluate, Nodes::log_sum, Nodes::weigh, Nodes::write_posterior, Nodes::write_shares;

    const VectorModel& model_;
    const VectorPlaces& places_;
    const int order_, q_, P_;
    std::vector<double> S_, powers_;  // P arrays over points: sum of x G; and 1, u_t, u_t u_s times the share
    VectorHessian parts_;
    ColumnSums sums_;
    Columns at_points_;
    std::vector<double> mean_, away_;  // of points' scores; the mean's distance from what was near it

    // 1, u_t and u_t u_s times the shares.
    void set_powers() {
        const int K = points_.size;
        for (int i = 0; i < actives_; ++i) {
            const int k = active_[i] * kLanes;
            double* to = &powers_[k];
            const Pack share = load(&pi[k]);
            store(to, share), to += K;
            for (int t = 0; t < d(); ++t, to += K) store(to, share * load(u(t) + k));
            for (int t = 0; t < d(); ++t)
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
        for (int from = first; from < last; from += VectorHessian::kRows) {
            const int n = std::min(last - from, VectorHessian::kRows);
            parts_.make_room(n);
            for (int j = 0; j < n; j += kLanes) {
                const double* H[kLanes];
                for (int l = 0; l < kLanes; ++l) H[l] = &H_[static_cast<std::size_t>(from - first + std::min(j + l, n - 1)) * K];
                int m = 0;
                for (; m + 3 <= parts_.kPowers(); m += 3) moment<3>(H, m, weight, parts_.moments() + j);
                for (; m < parts_.kPowers(); ++m) moment<1>(H, m, weight, parts_.moments() + j);
            }
            parts_.add_rows(n, [&](int r) { return rows_.column(r) + from; });
        }
    }

    // M moments of four rows at a time.
    template <int M>
    CLUSTERGLM_INLINE void moment(const double* const* H, int m, double weight, double* to) const {
        const std::size_t K = points_.size;
        const double* powers = &powers_[m * K];
        Pack sum[M][kLanes] = {};
        for (int i = 0; i < actives_; ++i) {
            const int k = active_[i] * kLanes;
            for (int l = 0; l < kLanes; ++l) {
                const Pack at = load(H[l] + k);
                for (int r = 0; r < M; ++r) sum[r][l] += at * load(powers + r * K + k);
            }
        }
        for (int r = 0; r < M; ++r) store(to + (m + r) * VectorHessian::kRows, weight * reduce_each(sum[r]));
    }

    // The sums of four packs.
    static CLUSTERGLM_INLINE Pack reduce_each(const Pack* x) {
        const Pack low = __builtin_shufflevector(x[0], x[1], 0, 4, 2, 6) + __builtin_shufflevector(x[0], x[1], 1, 5, 3, 7);
        const Pack high = __builtin_shufflevector(x[2], x[3], 0, 4, 2, 6) + __builtin_shufflevector(x[2], x[3], 1, 5, 3, 7);
        return __builtin_shufflevector(low, high, 0, 1, 4, 5) + __builtin_shufflevector(low, high, 2, 3, 6, 7);
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

    // The points' scores: their mean, and their squares about it, added to the Hessian. Squares are taken about the mean of the heaviest pack,
    // which is near, and a last point with the negative weight takes away what that makes of them.
    void gather_points(double weight) {
        const int heavy = heaviest_ * kLanes;
        const Pack near = load(&pi[heavy]) / reduce(load(&pi[heavy]));
        about_parameters([&]<int N, bool Times>(int r, const double* const* S, const double* const* effect) CLUSTERGLM_INLINE_LAMBDA {
            for (int k = 0; k < N; ++k) {
                const Pack s = load(S[k] + heavy), at = Times ? s * load(effect[k] + heavy) : s;
                mean_[r + k] = reduce(near > Pack{} ? near * at : Pack{});  // elsewhere sums may be too large
            }
        });
        alignas(32) double share[Columns::kRows];
        std::fill(away_.begin(), away_.end(), 0.0);
        for (int from = 0; from < actives_; from += Columns::kPacks - 1) {
            const int packs = std::min(actives_ - from, Columns::kPacks - 1);
            checkpoint(static_cast<std::int64_t>(packs) * q_ * q_);
            order_ > 1 ? add_points<true>(from, packs) : add_points<false>(from, packs);
            if (order_ < 2) continue;
            for (int i = 0; i < packs; ++i) store(share + i * kLanes, weight * load(&pi[active_[from + i] * kLanes]));
            const bool last = from + packs == actives_;
            for (int r = 0; r < q_ && last; ++r) store(at_points_.column(r) + packs * kLanes, all(away_[r]));
            if (last) store(share + packs * kLanes, Pack{-weight, 0.0, 0.0, 0.0});
            sums_.add(at_points_, packs + last, nullptr, share);
        }
        for (int r = 0; r < q_; ++r) mean_[r] += away_[r];
    }

    // Scores of active packs, less what is near their mean, into columns if they are kept; adds their mean to `away_`.
    template <bool Kept>
    CLUSTERGLM_INLINE void add_points(int from, int packs) {
        about_parameters([&]<int N, bool Times>(int r, const double* const* S, const double* const* effect) CLUSTERGLM_INLINE_LAMBDA {
            Pack sum[N] = {};
            double* columns[N];
            for (int k = 0; k < N; ++k) columns[k] = at_points_.column(r + k);
            for (int i = 0; i < packs; ++i) {
                const int at = active_[from + i] * kLanes;
                const Pack share = load(&pi[at]);
                const auto counts = share > Pack{};
                for (int k = 0; k < N; ++k) {
                    const Pack s = load(S[k] + at), x = (Times ? s * load(effect[k] + at) : s) - mean_[r + k], kept = counts ? x : Pack{};
                    sum[k] += share * kept;
                    if constexpr (Kept) store(columns[k] + i * kLanes, kept);
                }
            }
            for (int k = 0; k < N; ++k) away_[r + k] += reduce(sum[k]);
        });
    }

    // body(r, S, effect) for a few parameters at a time, r and those that follow: their scores at points are S, for entries of L times the effect.
    template <class Body>
    CLUSTERGLM_INLINE void about_parameters(const Body& body) {
        const double *S[kLanes], *effect[kLanes];
        const auto all_of = [&]<bool Times>(int first, int last) CLUSTERGLM_INLINE_LAMBDA {
            for (int r = first; r < last; r += kLanes) {
                const int n = std::min(last - r, kLanes);
                for (int k = 0; k < n; ++k) {
                    const int e = r + k - model_.p;
                    S[k] = &S_[static_cast<std::size_t>(Times ? model_.columns[model_.row[e]] : r + k) * points_.size];
                    effect[k] = Times ? u(static_cast<int>(model_.col[e])) : nullptr;
                }
                if (n == 4) body.template operator()<4, Times>(r, S, effect);
                else if (n == 3) body.template operator()<3, Times>(r, S, effect);
                else if (n == 2) body.template operator()<2, Times>(r, S, effect);
                else body.template operator()<1, Times>(r, S, effect);
            }
        };
        all_of.template operator()<false>(0, model_.p);
        all_of.template operator()<true>(model_.p, q_);
    }

    // What the sum feels of its points' motion with the mode and its curvature.
    void add_motion(const double* centre) {
        const std::size_t K = points_.size;
        double slope_mean[kMostEffects];  // E g_u
        Small Q{}, T{}, E{};              // E: g_u by c
        Pack means[kMostEffects] = {}, products[kMostEffects][kMostEffects] = {};
        for (int i = 0; i < actives_; ++i) {
            const int k = active_[i] * kLanes;
            const Pack share = load(&pi[k]);
            const auto counts = share > Pack{};
            for (int t = 0; t < d(); ++t) {
                Pack g{};
                for (int s = t; s < d(); ++s) g += model_.L[s][t] * load(&S_[model_.columns[s] * K + k]);
                g = counts ? share * (g - load(u(t) + k)) : Pack{};
                means[t] += g;
                for (int s = 0; s < d(); ++s) products[t][s] += g * load(points_.coordinate(s) + k);
            }
        }
        for (int t = 0; t < d(); ++t) {
            slope_mean[t] = reduce(means[t]);
            for (int s = 0; s < d(); ++s) E[t][s] = reduce(products[t][s]);
        }
        // The log of the sum changes by -1/2 tr(T dS), S the curvature; T = F Q F', Q = 1 + the lower half of E'F, made symmetric.
        for (int r = 0; r < d(); ++r)
            for (int s = 0; s <= r; ++s) {
                double sum = r == s ? 1.0 : 0.0;
                for (int t = 0; t < d(); ++t) sum += E[t][r] * F_[t][s];
                Q[r][s] = Q[s][r] = sum;
            }
        for (int r = 0; r < d(); ++r)
            for (int s = 0; s < d(); ++s)
                for (int i = 0; i < d(); ++i)
                    for (int k = 0; k < d(); ++k) T[r][s] += F_[r][i] * Q[i][k] * F_[s][k];
        // Of rows: what stands by w_j, and by z_j in the columns of L, in arrays that are free by now.
        const int size = rows_.size;
        if (across_.size() < static_cast<std::size_t>(size) * (kMostEffects + 1)) across_.resize(static_cast<std::size_t>(size) * (kMostEffects + 1));
        double *by = across_.data(), *by_effect = by + size;
        Pack pull[kMostEffects] = {};
        for (int i = 0; i < size; i += kLanes) {
            Pack square{};
            for (int t = 0; t < d(); ++t) {
                Pack TA{};
                for (int s = 0; s < d(); ++s) TA += T[t][s] * load(rows_.effect(s) + i);
                store(by_effect + t * size + i, TA);
                square += TA * load(rows_.effect(t) + i);
            }
            const Pack V = 0.5 * load(&rows_.I[i]) * square;
            store(by + i, V);
            for (int t = 0; t < d(); ++t) pull[t] += V * load(rows_.effect(t) + i);
        }
        double sum[kMostEffects], v[kMostEffects];
        for (int t = 0; t < d(); ++t) sum[t] = slope_mean[t] + reduce(pull[t]);
        rows_.solve(sum, v);
        for (int i = 0; i < size; i += kLanes) {
            Pack along{};
            for (int t = 0; t < d(); ++t) along += v[t] * load(rows_.effect(t) + i);
            const Pack H = load(&rows_.H[i]), at = load(by + i) + H * along;
            store(by + i, at);
            for (int t = 0; t < d(); ++t)
                store(by_effect + t * size + i, at * centre[t] + H * load(by_effect + t * size + i) + load(&rows_.G[i]) * v[t]);
        }
        const auto dot = [&](const double* x, const double* y) CLUSTERGLM_INLINE_LAMBDA {
            Pack total{};
            for (int i = 0; i < size; i += kLanes) total += load(x + i) * load(y + i);
            return reduce(total);
        };
        for (int r = 0; r < model_.p; ++r) mean_[r] += dot(rows_.column(r), by);
        for (int e = 0; e < model_.entries; ++e)
            mean_[model_.p + e] += dot(rows_.column(static_cast<int>(model_.columns[model_.row[e]])), by_effect + model_.col[e] * size);
    }
};

// The sum over the selected clusters.
inline bool evaluate_vector(const RowLoops& loops, const Problem& problem, const VectorModel& model, const PointSet& points, const VectorPlaces& places,
                            int order, const Selection& selection, const VectorOutputs& out, int threads, Sum& total,
                            const std::function<bool()>& interrupted) {
    // One point about the mode is Laplace's approximation.
    const bool laplace = points.count == 1 && places.follow && !out.means && !out.covariances && !out.shares;
    const auto by_fours = [&]<int D>() {
        struct Worker {
            VectorLaplace<D> fours;
            std::vector<std::int64_t> clusters;
        };
        std::vector<std::unique_ptr<Worker>> workers(static_cast<std::size_t>(worker_count(selection.count, threads)));
        return sum_over_blocks(
            problem, selection, model.parameters(), threads,
            [&](int worker, std::int64_t first, std::int64_t last, Sum& sum) {
                auto& own = workers[worker];
                if (!own) own.reset(new Worker{{loops, problem, model, places.centres, places.factors, order}, {}});
                auto& clusters = own->clusters;
                clusters.clear();
                for (std::int64_t i = first; i < last; ++i) clusters.push_back(selection[i]);
                sort_by_size(problem, clusters);
                own->fours.begin();
                for (std::size_t i = 0; i < clusters.size(); i += kLanes)
                    own->fours.add(&clusters[i], static_cast<int>(std::min<std::size_t>(kLanes, clusters.size() - i)), sum, out);
                own->fours.end(sum);
            },
            total, interrupted);
    };
    const auto with = [&]<int D>() {
        std::vector<std::unique_ptr<VectorClusters<D>>> workers(static_cast<std::size_t>(worker_count(selection.count, threads)));
        return sum_over_blocks(
            problem, selection, model.parameters(), threads,
            [&](int worker, std::int64_t first, std::int64_t last, Sum& sum) {
                auto& own = workers[worker];
                if (!own) own = std::make_unique<VectorClusters<D>>(loops, problem, model, points, places, order);
                own->begin();
                for (std::int64_t i = first; i < last; ++i) own->add(selection[i], sum, out);
                own->end(sum);
            },
            total, interrupted);
    };
    if (laplace) return model.d == 2 ? by_fours.template operator()<2>() : by_fours.template operator()<0>();
    return model.d == 2 ? with.template operator()<2>() : with.template operator()<0>();
}

}  // namespace clusterglm
