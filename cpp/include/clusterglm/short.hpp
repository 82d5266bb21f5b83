// Clusters of few rows, four at a time.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "blocks.hpp"
#include "four.hpp"
#include "psi.hpp"

namespace clusterglm {

template <class R, class Map>
class ShortClusters {
   public:
    static constexpr int kMostRows = 64;

    ShortClusters(const Problem& problem, const Map& map, const Rule& rule, const double* theta, int order)
        : problem_(problem), beta_(theta), order_(order), p_(problem.p), psi_(map, rule, problem), q_(p_ + psi_.own.count + 1),
          four_(problem), score_(static_cast<std::size_t>(q_) * kLanes),
          theta_(score_.size()), hessian_(score_.size() * q_) {}

    CLUSTERGLM_INLINE void begin() {
        value_ = Pack{};
        std::fill(score_.begin(), score_.end(), 0.0);
        std::fill(hessian_.begin(), hessian_.end(), 0.0);
    }

    // Adds `count` <= 4 clusters, in order of size.
    CLUSTERGLM_INLINE void add(const std::int64_t* clusters, int count, double* modes, const PerCluster& out) {
        four_.take(clusters, count, modes);
        load_rows();
        psi_.evaluate(four_.mode, order_);
        const auto& integral = psi_.integral;
        const Pack value = four_.weight * integral.moments.value;
        value_ += value;
        integral.write(clusters, count, value, modes, out);
        if (order_ == 0) return;
        with_known(four_.n, [&]<int N>() CLUSTERGLM_INLINE_LAMBDA { add_products<N>(four_.weight); });
        if (out.scores)
            for (int r = 0; r < q_; ++r)
                for (int l = 0; l < count; ++l) out.scores[clusters[l] * q_ + r] = theta_[r * kLanes + l];
    }

    CLUSTERGLM_INLINE void end(Sum& sum) const {
        sum.value += reduce(value_);
        for (int s = 0; s < q_; ++s) {
            sum.score[s] += reduce(clusterglm::load(&score_[s * kLanes]));
            for (int r = s; r < q_; ++r) sum.hessian[r * sum.stride + s] += reduce(clusterglm::load(&hessian_[(s * q_ + r) * kLanes]));
        }
    }

   private:
    const Problem& problem_;
    const double* beta_;
    int order_, p_;
    Psi<R, Map> psi_;
    const int q_;  // parameters: coefficients, the response's own, sigma
    FourClusters four_;
    Pack value_{};
    // Packs: the block's score, the clusters' own, the block's Hessian by columns from the diagonal on, and the columns of X.
    std::vector<double> score_, theta_, hessian_, x_;

    // Rows and the columns of X.
    CLUSTERGLM_INLINE void load_rows() {
        Rows<Pack>& rows = psi_.integral.rows;
        const int n = four_.n;
        rows.resize(n);
        rows.common = four_.common;
        if (x_.size() < static_cast<std::size_t>(n) * p_ * kLanes) x_.resize(static_cast<std::size_t>(n) * p_ * kLanes);
        for (int j = 0; j < n; ++j) {
            Pack a{}, b{}, offset{};
            four_.read(j, a, b, offset);
            double* to = x_.data() + j * kLanes;
            const FourRows x = four_.rows(j);
            const Pack eta = with_known(p_, [&]<int P>() CLUSTERGLM_INLINE_LAMBDA {
                Pack sum = offset;
                each_column<P>(x, p_, [&](int r, Pack column) CLUSTERGLM_INLINE_LAMBDA {
                    store(to + r * n * kLanes, column);
                    sum += column * beta_[r];
                });
                return sum;
            });
            store(&rows.eta[j * kLanes], eta), store(&rows.a[j * kLanes], a), store(&rows.b[j * kLanes], b);
        }
        rows.finish();
        if constexpr (kHasOwn<R>) load_groups(n);
    }

    // Which rows have which of the response's own parameters.
    CLUSTERGLM_INLINE void load_groups(int n) {
        OwnRows<R, Pack>& own = psi_.own;
        own.resize(n);
        for (int j = 0; j < n; ++j)
            for (int c = 0; c < own.count; ++c)
                for (int l = 0; l < kLanes; ++l) {
                    const std::int64_t row = problem_.starts[four_.cluster[l]] + j;
                    own.has(j, c)[l] = row < problem_.starts[four_.cluster[l] + 1] ? own.columns.weight(row, c) : 0.0;
                }
    }

    // X' score and X' M X, M the Hessian in psi, column by column. N: rows if the compiler is to know, or 0.
    template <int N>
    CLUSTERGLM_INLINE void add_products(Pack weight) {
        const int n = N > 0 ? N : psi_.integral.rows.n, width = n * kLanes, own = own_count(), q = p_ + own + 1;
        const int stride = width + (own + 1) * kLanes;  // of M
        const double *x = x_.data(), *M = psi_.hessian(), *last = M + (n + own) * stride;
        const auto dot = [n](const Pack* left, const double* right) {
            Pack sum{};
            for (int j = 0; j < n; ++j) sum += left[j] * clusterglm::load(right + j * kLanes);
            return sum;
        };
        const auto add = [](double* to, Pack y) { store(to, clusterglm::load(to) + y); };
        const auto add_theta = [&](int s, Pack theta) {
            store(&theta_[s * kLanes], theta);
            add(&score_[s * kLanes], theta);
        };
        for (int s = 0; s < p_; ++s) {
            Pack column[N > 0 ? N : kMostRows], M_column[N > 0 ? N : kMostRows];
            for (int j = 0; j < n; ++j) column[j] = clusterglm::load(x + s * width + j * kLanes);
            add_theta(s, weight * dot(column, psi_.score()));
            if (order_ < 2) continue;
            double* to = &hessian_[(s * q + s) * kLanes];
            for (int j = 0; j < n; ++j) M_column[j] = weight * dot(column, M + j * stride);
            for (int r = s; r < p_; ++r, to += kLanes) add(to, dot(M_column, x + r * width));
            for (int c = 0; c < own; ++c, to += kLanes) add(to, weight * dot(column, M + (n + c) * stride));
            add(to, weight * dot(column, last));
        }
        for (int c = 0; c <= own; ++c) {  // the response's own, and sigma
            const int s = p_ + c;
            add_theta(s, weight * clusterglm::load(psi_.score() + width + c * kLanes));
            if (order_ < 2) continue;
            for (int r = c; r <= own; ++r)
                add(&hessian_[(s * q + p_ + r) * kLanes], weight * clusterglm::load(M + (n + r) * stride + width + c * kLanes));
        }
    }

    int own_count() const {
        if constexpr (kHasOwn<R>) return psi_.own.count;
        else return 0;
    }
};

}  // namespace clusterglm
