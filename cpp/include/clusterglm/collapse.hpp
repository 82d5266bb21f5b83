// Poisson clusters. One depends on its rows only through sum a*eta and kappa = log sum b e^eta: the likelihood is that of one row
// with linear predictor kappa, count sum a and exposure 1, times exp(sum a*eta - kappa sum a). Four clusters at a time become rows
// of Psi; the Hessian is a sum of squares over rows and one over clusters.
#pragma once
#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "blocks.hpp"
#include "gram.hpp"
#include "psi.hpp"

namespace clusterglm {

template <class R, class Map>
class CollapsedClusters {
   public:
    CollapsedClusters(const Problem& problem, const LocationMap&, const Map& map, const Rule& rule, const double* theta, int order)
        : problem_(problem), beta_(theta), order_(order), p_(problem.p), psi_(map, rule, problem), four_(problem), rows_(p_), means_(p_),
          row_sums_(p_), mean_sums_(p_) {
        psi_.integral.rows.resize(1);
    }

    CLUSTERGLM_INLINE void add(std::vector<std::int64_t>& clusters, double* modes, Sum& sum, const PerCluster& out) {
        sort_by_size(problem_, clusters);
        value_ = score_sigma_ = hessian_sigma_ = Pack{};
        row_sums_.begin(), mean_sums_.begin();
        const auto count = static_cast<int>(clusters.size());
        for (int first = 0; first < count; first += kLanes) add_four(&clusters[first], std::min(count - first, kLanes), modes, out);
        flush_rows(), flush_means();
        sum.value += reduce(value_);
        double *score = sum.score.data(), *hessian = sum.hessian.data(), *last = hessian + p_ * sum.stride;
        row_sums_.end(score, hessian, sum.stride);
        score[p_] += reduce(score_sigma_);
        mean_sums_.end(last, hessian, sum.stride);
        last[p_] += reduce(hessian_sigma_);
    }

   private:
    static constexpr int kMost = Columns::kPacks;

    const Problem& problem_;
    const double* beta_;
    int order_, p_;
    Psi<R, Map> psi_;
    FourClusters four_;
    std::vector<double> a_, eta_, share_;  // packs, of the four clusters' rows; shares in their exposures
    Columns rows_, means_;               // rows that wait to be added up, and means of clusters weighted by shares
    int filled_ = 0, mean_count_ = 0;    // packs of them
    double G_[Columns::kRows], H_[Columns::kRows], cross_[Columns::kRows], curvature_[Columns::kRows];
    ColumnSums row_sums_, mean_sums_;
    Pack value_, score_sigma_, hessian_sigma_;

    // Adds `count` <= 4 clusters, in order of size.
    CLUSTERGLM_INLINE void add_four(const std::int64_t* clusters, int count, double* modes, const PerCluster& out) {
        four_.take(clusters, count, modes);
        const Pack weight = four_.weight;
        const int n = four_.n;
        const bool kept = n <= kMost;  // else its rows are read twice
        if (filled_ + std::min(n, kMost) > kMost) flush_rows();

        if (share_.size() < static_cast<std::size_t>(n) * kLanes)
            for (auto* v : {&a_, &eta_, &share_}) v->resize(static_cast<std::size_t>(n) * kLanes);
        Pack top = all(-std::numeric_limits<double>::infinity()), a{}, a_eta{}, exposure{};
        for (int j = 0; j < n; ++j) {
            read_row(j, filled_ + j % kMost);
            const Pack eta = load(&eta_[j * kLanes]), a_j = load(&a_[j * kLanes]);
            top = eta > top ? eta : top;
            a += a_j, a_eta += a_j * eta;
        }
        for (int j = 0; j < n; ++j) {
            const Pack share = load(&share_[j * kLanes]) * lanes::exp(load(&eta_[j * kLanes]) - top);
            store(&share_[j * kLanes], share);
            exposure += share;
        }

        auto& integral = psi_.integral;
        const Pack kappa = top + lanes::log(exposure);
        integral.rows.set_only(kappa, exposure * lanes::exp(top), a, all(1.0));
        psi_.evaluate(four_.mode, order_);
        const Pack value = weight * (integral.moments.value + (a_eta - a * kappa));
        value_ += value;
        integral.write(clusters, count, value, modes, out);
        if (order_ == 0) return;

        // With x_mean the gradient of kappa and `excess` the derivative in kappa of everything but sum a*eta:
        // score = sum a x + excess x_mean, Hessian = excess sum share x x' + (M - excess) x_mean x_mean'.
        const Pack excess = load(psi_.score()) - a, score_sigma = weight * load(psi_.score() + kLanes), per_exposure = 1.0 / exposure;
        const Pack on_share = weight * excess * per_exposure;
        score_sigma_ += score_sigma;
        if (order_ > 1) {
            const double* M = psi_.hessian();
            store(cross_ + mean_count_ * kLanes, weight * load(M + kLanes));
            store(curvature_ + mean_count_ * kLanes, weight * (load(M) - excess));
            hessian_sigma_ += weight * load(M + 3 * kLanes);
        }
        for (int l = 0; out.scores && l < count; ++l) {
            std::fill_n(out.scores + clusters[l] * (p_ + 1), p_, 0.0);
            out.scores[clusters[l] * (p_ + 1) + p_] = score_sigma[l];
        }
        for (int first = 0; first < n; first += kMost) {
            const int packs = std::min(n - first, kMost);
            if (!kept) checkpoint(static_cast<std::int64_t>(packs) * p_);
            for (int j = 0; j < packs; ++j) {
                if (!kept) rows_.set(j, four_.rows(first + j));
                const Pack H = on_share * load(&share_[(first + j) * kLanes]);
                store(G_ + (filled_ + j) * kLanes, weight * load(&a_[(first + j) * kLanes]) + H);
                store(H_ + (filled_ + j) * kLanes, H);
            }
            if (order_ > 1)
                with_known(packs, [&]<int N>() CLUSTERGLM_INLINE_LAMBDA { add_means(first, N > 0 ? N : packs, per_exposure); });
            if (out.scores) add_scores(clusters, count, packs, out.scores);
            filled_ += packs;
            if (!kept) flush_rows();
        }
        if (order_ > 1 && ++mean_count_ == kMost) flush_means();
    }

    // Row j of each of the four clusters as pack `to` of the columns; also its a and linear predictor, and b in place of its share.
    CLUSTERGLM_INLINE void read_row(int j, int to) {
        Pack a{}, b{}, eta = all(-1e300);  // a row that is not there has no share
        four_.read(j, a, b, eta);
        store(&a_[j * kLanes], a), store(&share_[j * kLanes], b), store(&eta_[j * kLanes], rows_.set(to, four_.rows(j), beta_, eta));
    }

    // sum share x of the next rows, onto the four clusters' means.
    CLUSTERGLM_INLINE void add_means(int first, int packs, Pack per_exposure) {
        const double* share = &share_[first * kLanes];
        for (int r = 0; r < p_; ++r) {
            double* mean = means_.column(r) + mean_count_ * kLanes;
            const double* x = rows_.column(r) + filled_ * kLanes;
            Pack sum{};
            for (int j = 0; j < packs; ++j) sum += load(share + j * kLanes) * load(x + j * kLanes);
            store(mean, (first > 0 ? load(mean) : Pack{}) + sum * per_exposure);
        }
    }

    CLUSTERGLM_INLINE void add_scores(const std::int64_t* clusters, int count, int packs, double* scores) const {
        for (int r = 0; r < p_; ++r) {
            const double *x = rows_.column(r) + filled_ * kLanes, *G = G_ + filled_ * kLanes;
            Pack sum{};
            for (int j = 0; j < packs; ++j) sum += load(G + j * kLanes) * load(x + j * kLanes);
            for (int l = 0; l < count; ++l) scores[clusters[l] * (p_ + 1) + r] += sum[l];
        }
    }

    CLUSTERGLM_INLINE void flush_rows() {
        if (order_ > 0) row_sums_.add(rows_, filled_, G_, order_ > 1 ? H_ : nullptr);
        filled_ = 0;
    }
    CLUSTERGLM_INLINE void flush_means() {
        mean_sums_.add(means_, mean_count_, cross_, curvature_);
        mean_count_ = 0;
    }
};

}  // namespace clusterglm
