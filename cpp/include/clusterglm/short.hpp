// Clusters of few rows, four at a time.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "blocks.hpp"
#include "four.hpp"
#include "psi.hpp"

namespace clusterglm {

// What four clusters at a time leave in sums: it knows neither map nor kernel, and is compiled once.
class ShortSums {
   public:
    static constexpr int kMostRows = 64;
    const int p, own, q;  // coefficients; parameters of the response's own; all, with sigma
    FourClusters four;

    ShortSums(const Problem& problem, const double* theta, int order, int own_)
        : p(problem.p), own(own_), q(p + own + 1), four(problem), problem_(problem), beta_(theta), order_(order),
          score_(static_cast<std::size_t>(q) * kLanes), theta_(score_.size()), hessian_(score_.size() * q) {}

    void begin() {
        value_ = Pack{};
        std::fill(score_.begin(), score_.end(), 0.0);
        std::fill(hessian_.begin(), hessian_.end(), 0.0);
    }

    void end(Sum& sum) const {
        sum.value += reduce(value_);
        for (int s = 0; s < q; ++s) {
            sum.score[s] += reduce(clusterglm::load(&score_[s * kLanes]));
            for (int r = s; r < q; ++r) sum.hessian[r * sum.stride + s] += reduce(clusterglm::load(&hessian_[(s * q + r) * kLanes]));
        }
    }

    // Rows of the four clusters, and the columns of X.
    CLUSTERGLM_APART void load_rows(Rows<Pack>& rows) {
        const int n = four.n;
        rows.resize(n);
        rows.common = four.common;
        if (x_.size() < static_cast<std::size_t>(n) * p * kLanes) x_.resize(static_cast<std::size_t>(n) * p * kLanes);
        for (int j = 0; j < n; ++j) {
            Pack a{}, b{}, offset{};
            four.read(j, a, b, offset);
            double* to = x_.data() + j * kLanes;
            const FourRows x = four.rows(j);
            const Pack eta = with_known(p, [&]<int P>() CLUSTERGLM_INLINE_LAMBDA {
                Pack sum = offset;
                each_column<P>(x, p, [&](int r, Pack column) CLUSTERGLM_INLINE_LAMBDA {
                    store(to + r * n * kLanes, column);
                    sum += column * beta_[r];
                });
                return sum;
            });
            store(&rows.eta[j * kLanes], eta), store(&rows.a[j * kLanes], a), store(&rows.b[j * kLanes], b);
        }
        rows.finish();
    }

    // Their value, and with derivatives X' score and X' M X, M the Hessian in psi.
    CLUSTERGLM_APART void add(Pack value, const double* score, const double* M) {
        value_ += value;
        if (order_ > 0) with_known(four.n, [&]<int N>() CLUSTERGLM_INLINE_LAMBDA { add_products<N>(four.weight, score, M); });
    }

    // The clusters' own scores, after `add`.
    void write_scores(const std::int64_t* clusters, int count, double* scores) const {
        for (int r = 0; r < q; ++r)
            for (int l = 0; l < count; ++l) scores[clusters[l] * q + r] = theta_[r * kLanes + l];
    }

    // How much the rows have of the response's own parameters.
    template <int J>
    void load_own(OwnRows<J, Pack>& rows) const {
        rows.resize(four.n);
        for (int j = 0; j < four.n; ++j)
            for (int c = 0; c < own; ++c)
                for (int l = 0; l < kLanes; ++l) {
                    const std::int64_t row = problem_.starts[four.cluster[l]] + j;
                    rows.has(j, c)[l] = row < problem_.starts[four.cluster[l] + 1] ? rows.columns.weight(row, c) : 0.0;
                }
    }

   private:
    const Problem& problem_;
    const double* beta_;
    int order_;
    Pack value_{};
    // Packs: the block's score, the clusters' own, the block's Hessian by columns from the diagonal on, and the columns of X.
    std::vector<double> score_, theta_, hessian_, x_;

    // Column by column. N: rows if the compiler is to know, or 0.
    template <int N>
    CLUSTERGLM_INLINE void add_products(Pack weight, const double* score, const double* M) {
        const int n = N > 0 ? N : four.n, width = n * kLanes;
        const int stride = width + (own + 1) * kLanes;  // of M
        const double *x = x_.data(), *last = order_ > 1 ? M + (n + own) * stride : M;
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
        for (int s = 0; s < p; ++s) {
            Pack column[N > 0 ? N : kMostRows], M_column[N > 0 ? N : kMostRows];
            for (int j = 0; j < n; ++j) column[j] = clusterglm::load(x + s * width + j * kLanes);
            add_theta(s, weight * dot(column, score));
            if (order_ < 2) continue;
            double* to = &hessian_[(s * q + s) * kLanes];
            for (int j = 0; j < n; ++j) M_column[j] = weight * dot(column, M + j * stride);
            for (int r = s; r < p; ++r, to += kLanes) add(to, dot(M_column, x + r * width));
            for (int c = 0; c < own; ++c, to += kLanes) add(to, weight * dot(column, M + (n + c) * stride));
            add(to, weight * dot(column, last));
        }
        for (int c = 0; c <= own; ++c) {  // the response's own, and sigma
            const int s = p + c;
            add_theta(s, weight * clusterglm::load(score + width + c * kLanes));
            if (order_ < 2) continue;
            for (int r = c; r <= own; ++r)
                add(&hessian_[(s * q + p + r) * kLanes], weight * clusterglm::load(M + (n + r) * stride + width + c * kLanes));
        }
    }
};

template <class Map, int J>
class ShortClusters {
   public:
    static constexpr int kMostRows = ShortSums::kMostRows;

    ShortClusters(const InterceptLoops& kernel, const Problem& problem, const Map& map, const Rule& rule, const double* theta, int order)
        : order_(order), psi_(kernel, map, rule, problem), sums_(problem, theta, order, psi_.own.count) {}

    void begin() { sums_.begin(); }
    void end(Sum& sum) const { sums_.end(sum); }

    // Adds `count` <= 4 clusters, in order of size.
    CLUSTERGLM_INLINE void add(const std::int64_t* clusters, int count, double* modes, const PerCluster& out) {
        auto& integral = psi_.integral;
        sums_.four.take(clusters, count, modes);
        sums_.load_rows(integral.rows);
        if constexpr (J > 0) sums_.load_own(psi_.own);
        psi_.evaluate(sums_.four.mode, order_);
        const Pack value = sums_.four.weight * integral.moments.value;
        sums_.add(value, psi_.score(), psi_.hessian());
        integral.write(clusters, count, value, modes, out);
        if (out.scores && order_ > 0) sums_.write_scores(clusters, count, out.scores);
    }

   private:
    int order_;
    Psi<Map, J> psi_;
    ShortSums sums_;
};

}  // namespace clusterglm
