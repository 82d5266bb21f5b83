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
    static constexpr int kMostRows = 64;

    ShortClusters(const Problem& problem, const LocationMap& map, const Rule& rule, const double* theta, int order)
        : problem_(problem), beta_(theta), order_(order), p_(problem.p), psi_(map, rule, theta[problem.p], problem.unit),
          nothing_(p_, 0.0), score_(static_cast<std::size_t>(p_ + 1) * kLanes),
          theta_(score_.size()), hessian_(score_.size() * (p_ + 1)) {}

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
        for (int s = 0; s <= p_; ++s) {
            sum.score[s] += reduce(clusterglm::load(&score_[s * kLanes]));
            for (int r = s; r <= p_; ++r) sum.hessian[r * sum.stride + s] += reduce(clusterglm::load(&hessian_[(s * (p_ + 1) + r) * kLanes]));
        }
    }

   private:
    const Problem& problem_;
    const double* beta_;
    int order_, p_;
    Psi<R> psi_;
    std::vector<double> nothing_;  // a row of X that is not there
    Pack value_{};
    // Packs: the block's score, the clusters' own, the block's Hessian by columns from the diagonal on, and the columns of X.
    std::vector<double> score_, theta_, hessian_, x_;

    // Rows and the columns of X; clusters come in order of size.
    CLUSTERGLM_INLINE void load_rows(const std::int64_t (&cluster)[kLanes]) {
        Rows<Pack>& rows = psi_.integral.rows;
        std::int64_t start[kLanes], end[kLanes];
        for (int l = 0; l < kLanes; ++l) start[l] = problem_.starts[cluster[l]], end[l] = problem_.starts[cluster[l] + 1];
        const int n = static_cast<int>(end[kLanes - 1] - start[kLanes - 1]);
        rows.resize(n);
        rows.common = static_cast<int>(end[0] - start[0]);
        if (x_.size() < static_cast<std::size_t>(n) * p_ * kLanes)
            x_.resize(static_cast<std::size_t>(n) * p_ * kLanes);
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

    CLUSTERGLM_INLINE void add_derivatives(Pack weight) {
        switch (psi_.integral.rows.n) {
            case 1: return add_products<1>(weight);
            case 2: return add_products<2>(weight);
            case 3: return add_products<3>(weight);
            case 4: return add_products<4>(weight);
            case 5: return add_products<5>(weight);
            case 6: return add_products<6>(weight);
            default: return add_products<0>(weight);
        }
    }

    // X' score and X' M X, M the Hessian in psi, column by column. N: rows if the compiler is to know, or 0.
    template <int N>
    CLUSTERGLM_INLINE void add_products(Pack weight) {
        const int n = N > 0 ? N : psi_.integral.rows.n, width = n * kLanes, q = p_ + 1;
        const double *x = x_.data(), *M = psi_.hessian(), *last = M + n * (width + kLanes);
        const auto dot = [n](const Pack* left, const double* right) {
            Pack sum{};
            for (int j = 0; j < n; ++j) sum += left[j] * clusterglm::load(right + j * kLanes);
            return sum;
        };
        const auto add = [](double* to, Pack y) { store(to, clusterglm::load(to) + y); };
        for (int s = 0; s <= p_; ++s) {
            Pack column[N > 0 ? N : kMostRows], M_column[N > 0 ? N : kMostRows];
            for (int j = 0; s < p_ && j < n; ++j) column[j] = clusterglm::load(x + s * width + j * kLanes);
            const Pack theta = weight * (s < p_ ? dot(column, psi_.score()) : clusterglm::load(psi_.score() + width));
            store(&theta_[s * kLanes], theta);
            add(&score_[s * kLanes], theta);
            if (order_ < 2) continue;
            double* to = &hessian_[(s * q + s) * kLanes];
            if (s < p_)
                for (int j = 0; j < n; ++j) M_column[j] = weight * dot(column, M + j * (width + kLanes));
            for (int r = s; r < p_; ++r, to += kLanes) add(to, dot(M_column, x + r * width));
            add(to, weight * (s < p_ ? dot(column, last) : clusterglm::load(last + width)));
        }
    }
};

}  // namespace clusterglm
