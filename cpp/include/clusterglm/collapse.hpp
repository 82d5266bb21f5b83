// Poisson clusters. One depends on its rows only through sum a*eta and kappa = log sum b e^eta: the likelihood is that of one row
// with linear predictor kappa, count sum a and exposure 1, times exp(sum a*eta - kappa sum a). So the clusters of a block, however
// long, become rows of four clusters, and the block's Hessian a sum of squares over its rows and one over its clusters.
#pragma once
#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "blocks.hpp"
#include "gram.hpp"
#include "psi.hpp"

namespace clusterglm {

template <class R>
class CollapsedClusters {
   public:
    CollapsedClusters(const Problem& problem, const LocationMap& map, const Rule& rule, const double* theta, int order)
        : problem_(problem), beta_(theta), order_(order), p_(problem.p), stride_(padded(p_ + 1)),
          psi_(map, rule, theta[p_], problem.unit), x_(static_cast<std::size_t>(kChunk) * stride_) {
        psi_.integral.rows.resize(1);
    }

    CLUSTERGLM_INLINE void add(const std::vector<std::int64_t>& block, double* modes, Sum& sum, const PerCluster& out) {
        const std::int64_t* clusters = block.data();
        const auto count = static_cast<int>(block.size());
        collapse(clusters, count);
        for (int first = 0; first < count; first += kLanes) evaluate(clusters, first, count, modes, sum, out);
        if (order_ > 0) add_derivatives(clusters, count, sum, out);
    }

   private:
    const Problem& problem_;
    const double* beta_;
    int order_, p_, stride_;
    Psi<R> psi_;
    std::vector<double> share_;  // of the block's rows in their cluster's exposure
    std::vector<double> top_, total_, sum_a_, sum_a_eta_, weight_, excess_, curvature_, cross_;  // of the block's clusters
    std::vector<double> x_, mean_, curved_;  // rows of `stride`: of a chunk, of the clusters' means, and either scaled

    static constexpr int kChunk = 64;  // rows added at a time, whatever clusters they belong to

    std::int64_t start(std::int64_t cluster) const { return problem_.starts[cluster]; }
    int size(std::int64_t cluster) const { return static_cast<int>(start(cluster + 1) - start(cluster)); }

    CLUSTERGLM_INLINE void collapse(const std::int64_t* clusters, int count) {
        const auto lanes_needed = static_cast<std::size_t>(padded(count));
        for (auto* v : {&top_, &total_, &sum_a_, &sum_a_eta_, &weight_, &excess_, &curvature_, &cross_}) v->resize(std::max(v->size(), lanes_needed));
        int rows = 0;
        for (int i = 0; i < count; ++i) rows += size(clusters[i]);
        if (share_.size() < static_cast<std::size_t>(padded(rows))) share_.resize(padded(rows));
        int at = 0;
        for (int i = 0; i < count; ++i) {
            const std::int64_t from = start(clusters[i]);
            const int n = size(clusters[i]);
            double top = -std::numeric_limits<double>::infinity(), sum_a = 0.0, sum_a_eta = 0.0;
            for (int j = 0; j < n; ++j) {
                const double eta = problem_.eta(from + j, beta_), a = problem_.a[from + j];
                share_[at + j] = eta;
                top = std::max(top, eta);
                sum_a += a;
                sum_a_eta += a * eta;
            }
            for (int j = 0; j < n; ++j) share_[at + j] -= top;
            top_[i] = top, sum_a_[i] = sum_a, sum_a_eta_[i] = sum_a_eta;
            weight_[i] = problem_.cluster_weights[clusters[i]];
            at += n;
        }
        for (int j = 0; j < rows; j += kLanes) store(&share_[j], lanes::exp(clusterglm::load(&share_[j])));
        at = 0;
        for (int i = 0; i < count; ++i) {
            const double* b = problem_.b + start(clusters[i]);
            const int n = size(clusters[i]);
            double total = 0.0;
            for (int j = 0; j < n; ++j) total += share_[at + j] *= b[j];
            total_[i] = total;
            const double scale = 1.0 / total;
            for (int j = 0; j < n; ++j) share_[at + j] *= scale;
            at += n;
        }
        for (std::size_t i = static_cast<std::size_t>(count); i < lanes_needed; ++i) {  // lanes left over: the last cluster, with weight 0
            for (auto* v : {&top_, &total_, &sum_a_, &sum_a_eta_}) (*v)[i] = (*v)[count - 1];
            weight_[i] = 0.0;
        }
    }

    // Four clusters from `first`, each one row now.
    CLUSTERGLM_INLINE void evaluate(const std::int64_t* clusters, int first, int count, double* modes, Sum& sum, const PerCluster& out) {
        Pack from;
        for (int l = 0; l < kLanes; ++l) from[l] = modes[clusters[std::min(first + l, count - 1)]];
        auto& integral = psi_.integral;
        const Pack kappa = clusterglm::load(&top_[first]) + lanes::log(clusterglm::load(&total_[first])), a = clusterglm::load(&sum_a_[first]);
        const Pack weight = clusterglm::load(&weight_[first]);
        store(integral.rows.eta.data(), kappa), store(integral.rows.a.data(), a), store(integral.rows.b.data(), all(1.0));
        integral.rows.finish();
        psi_.evaluate(from, order_);
        const Pack value = weight * (integral.moments.value + (clusterglm::load(&sum_a_eta_[first]) - a * kappa));
        sum.value += reduce(value);
        integral.write(clusters + first, std::min(count - first, kLanes), value, modes, out);
        if (order_ == 0) return;
        const Pack excess = clusterglm::load(psi_.score()) - a;
        store(&excess_[first], excess);
        const Pack score_sigma = weight * clusterglm::load(psi_.score() + kLanes);
        sum.score[p_] += reduce(score_sigma);
        for (int l = 0; out.scores && l < kLanes && first + l < count; ++l) out.scores[clusters[first + l] * (p_ + 1) + p_] = score_sigma[l];
        if (order_ == 1) return;
        const double* M = psi_.hessian();
        store(&curvature_[first], weight * (clusterglm::load(M) - excess));
        store(&cross_[first], weight * clusterglm::load(M + kLanes));
        sum.hessian[p_ * stride_ + p_] += reduce(weight * clusterglm::load(M + 3 * kLanes));
    }

    // With x_mean the gradient of kappa and `excess` the derivative in kappa of everything but sum a*eta:
    // score = sum a x + excess x_mean, Hessian = excess sum share x x' + (M - excess) x_mean x_mean'.
    CLUSTERGLM_INLINE void add_derivatives(const std::int64_t* clusters, int count, Sum& sum, const PerCluster& out) {
        double *hessian = sum.hessian.data(), *last = hessian + p_ * stride_;
        mean_.assign(static_cast<std::size_t>(count) * stride_, 0.0);
        double G[kChunk], H[kChunk];
        int filled = 0;
        const double* share = share_.data();
        for (int i = 0; i < count; ++i) {
            double* own = out.scores ? out.scores + clusters[i] * (p_ + 1) : nullptr;
            if (own) std::fill_n(own, p_, 0.0);
            const int n = size(clusters[i]);
            for (int j = 0, taken; j < n; j += taken, share += taken, filled += taken) {
                if (filled == kChunk) add_chunk(G, H, filled, sum), filled = 0;
                taken = std::min(n - j, kChunk - filled);
                const std::int64_t from = start(clusters[i]) + j;
                double* x = &x_[filled * stride_];
                copy_rows(problem_.X + from * p_, taken, p_, stride_, x);
                if (order_ > 1) add_rows(x, share, taken, stride_, &mean_[i * stride_]);
                for (int t = 0; t < taken; ++t) {
                    H[filled + t] = weight_[i] * excess_[i] * share[t];
                    G[filled + t] = weight_[i] * problem_.a[from + t] + H[filled + t];
                }
                for (int t = 0; own && t < taken; ++t)
                    for (int r = 0; r < p_; ++r) own[r] += G[filled + t] * x[t * stride_ + r];
            }
        }
        add_chunk(G, H, filled, sum);
        if (order_ < 2) return;
        scale_rows(mean_.data(), curvature_.data(), count, curved_);
        add_products(mean_.data(), curved_.data(), count, p_, stride_, hessian);
        add_rows(mean_.data(), cross_.data(), count, stride_, last);
    }

    CLUSTERGLM_INLINE void add_chunk(const double* G, const double* H, int n, Sum& sum) {
        add_rows(x_.data(), G, n, stride_, sum.score.data());
        if (order_ < 2) return;
        scale_rows(x_.data(), H, n, curved_);
        add_products(x_.data(), curved_.data(), n, p_, stride_, sum.hessian.data());
    }

    CLUSTERGLM_INLINE void scale_rows(const double* rows, const double* by, int n, std::vector<double>& to) {
        if (to.size() < static_cast<std::size_t>(n) * stride_) to.resize(static_cast<std::size_t>(n) * stride_);
        for (int j = 0; j < n; ++j)
            for (int v = 0; v < stride_; v += kLanes) store(&to[j * stride_ + v], by[j] * clusterglm::load(rows + j * stride_ + v));
    }
};

}  // namespace clusterglm
