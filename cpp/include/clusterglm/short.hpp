// Clusters of few rows, four at a time.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "blocks.hpp"
#include "psi.hpp"

namespace clusterglm {

template <class R>
class ShortClusters {
   public:
    ShortClusters(const Problem& problem, const LocationMap& map, const Rule& rule, const double* theta, int order)
        : problem_(problem), beta_(theta), order_(order), p_(problem.p), psi_(map, rule, theta[problem.p], problem.unit),
          nothing_(p_, 0.0), score_(static_cast<std::size_t>(p_ + 1) * kLanes),
          hessian_(static_cast<std::size_t>(p_ + 1) * (p_ + 2) / 2 * kLanes) {}

    CLUSTERGLM_INLINE void begin() {
        value_ = Pack{};
        std::fill(score_.begin(), score_.end(), 0.0);
        std::fill(hessian_.begin(), hessian_.end(), 0.0);
    }

    // Adds `count` <= 4 clusters, in order of size; a lane left over repeats the last of them with weight 0.
    CLUSTERGLM_INLINE void add(const std::int64_t* clusters, int count, double* modes, const PerCluster& out) {
        std::int64_t cluster[kLanes];
        Pack start, weight;
        for (int l = 0; l < kLanes; ++l) {
            cluster[l] = clusters[std::min(l, count - 1)];
            start[l] = modes[cluster[l]];
            weight[l] = l < count ? problem_.cluster_weights[cluster[l]] : 0.0;
        }
        load_rows(cluster);
        psi_.evaluate(start, order_);
        const auto& integral = psi_.integral;
        const Pack value = weight * integral.moments.value;
        value_ += value;
        integral.write(cluster, count, value, modes, out);
        if (order_ == 0) return;
        add_derivatives(weight);
        if (out.scores)
            for (int r = 0; r <= p_; ++r)
                for (int l = 0; l < count; ++l) out.scores[cluster[l] * (p_ + 1) + r] = theta_[r * kLanes + l];
    }

    CLUSTERGLM_INLINE void end(Sum& sum) const {
        sum.value += reduce(value_);
        const double* entry = hessian_.data();
        for (int r = 0; r <= p_; ++r) {
            sum.score[r] += reduce(clusterglm::load(&score_[r * kLanes]));
            for (int s = 0; s <= r; ++s, entry += kLanes) sum.hessian[r * sum.stride + s] += reduce(clusterglm::load(entry));
        }
    }

   private:
    const Problem& problem_;
    const double* beta_;
    int order_, p_;
    Psi<R> psi_;
    std::vector<double> nothing_;  // a row of X that is not there
    Pack value_{};
    std::vector<double> score_, hessian_;    // sums of the block: packs, and of the Hessian its lower triangle
    std::vector<double> x_, Mx_, theta_;     // packs: columns of X, of M X, and the clusters' scores

    // Rows and the columns of X; clusters come in order of size.
    CLUSTERGLM_INLINE void load_rows(const std::int64_t (&cluster)[kLanes]) {
        Rows<Pack>& rows = psi_.integral.rows;
        std::int64_t start[kLanes], end[kLanes];
        for (int l = 0; l < kLanes; ++l) start[l] = problem_.starts[cluster[l]], end[l] = problem_.starts[cluster[l] + 1];
        const int n = static_cast<int>(end[kLanes - 1] - start[kLanes - 1]);
        rows.resize(n);
        rows.common = static_cast<int>(end[0] - start[0]);
        if (x_.size() < static_cast<std::size_t>(n) * p_ * kLanes)
            for (auto* v : {&x_, &Mx_}) v->resize(static_cast<std::size_t>(n) * p_ * kLanes);
        theta_.resize(static_cast<std::size_t>(p_ + 1) * kLanes);
        for (int j = 0; j < n; ++j) {
            const double* x[kLanes];
            Pack a{}, b{}, eta{};
            for (int l = 0; l < kLanes; ++l) {
                const std::int64_t row = start[l] + j;
                x[l] = row < end[l] ? problem_.X + row * p_ : nothing_.data();
                if (row < end[l]) a[l] = problem_.a[row], b[l] = problem_.b[row], eta[l] = problem_.offset[row];
            }
            double* to = x_.data() + j * kLanes;
            for (int r = 0; r < p_; ++r, to += n * kLanes) {
                const Pack column{x[0][r], x[1][r], x[2][r], x[3][r]};
                eta += column * beta_[r];
                store(to, column);
            }
            store(&rows.eta[j * kLanes], eta), store(&rows.a[j * kLanes], a), store(&rows.b[j * kLanes], b);
        }
        rows.finish();
    }

    // X' score and X' M X, M the Hessian in psi.
    CLUSTERGLM_INLINE void add_derivatives(Pack weight) {
        const int n = psi_.integral.rows.n, width = n * kLanes, full = width + kLanes;
        const double *x = x_.data(), *M = psi_.hessian(), *last = M + n * full;
        double *theta = theta_.data(), *score = score_.data(), *hessian = hessian_.data(), *Mx = Mx_.data();
        for (int r = 0; r <= p_; ++r) {
            Pack sum = r < p_ ? Pack{} : psi_.score(n);
            for (int j = 0; r < p_ && j < n; ++j) sum += clusterglm::load(x + r * width + j * kLanes) * psi_.score(j);
            sum *= weight;
            store(theta + r * kLanes, sum);
            store(score + r * kLanes, clusterglm::load(score + r * kLanes) + sum);
        }
        if (order_ < 2) return;
        for (int r = 0; r < p_; ++r)
            for (int j = 0; j < n; ++j) store(Mx + r * width + j * kLanes, weight * dot(x + r * width, M + j * full, n));
        for (int r = 0; r < p_; ++r)
            for (int s = 0; s <= r; ++s, hessian += kLanes)
                store(hessian, clusterglm::load(hessian) + dot(x + r * width, Mx + s * width, n));
        for (int s = 0; s < p_; ++s, hessian += kLanes)
            store(hessian, clusterglm::load(hessian) + weight * dot(x + s * width, last, n));
        store(hessian, clusterglm::load(hessian) + weight * clusterglm::load(last + width));
    }

    static CLUSTERGLM_INLINE Pack dot(const double* x, const double* y, int n) {
        Pack sum{};
        for (int j = 0; j < n; ++j) sum += clusterglm::load(x + j * kLanes) * clusterglm::load(y + j * kLanes);
        return sum;
    }
};

}  // namespace clusterglm
