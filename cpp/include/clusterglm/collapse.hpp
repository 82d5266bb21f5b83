// Poisson clusters. One depends on its rows only through sum a*eta and kappa = log sum b e^eta: the likelihood is that of one row
// with linear predictor kappa, count sum a and exposure 1, times exp(sum a*eta - kappa sum a). Four clusters at a time become rows
// of Psi; the Hessian is a sum of squares over rows and one over clusters.
//
// Gamma clusters are the same with -eta in place of eta. Their shape w multiplies a and b: so that kappa knows nothing of it, the one
// row has linear predictor -top, top the largest -eta, and exposure sum b e^(-eta - top).
#pragma once
#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "blocks.hpp"
#include "gram.hpp"
#include "psi.hpp"

namespace clusterglm {

// Sign: kCollapses of the kernel.
template <class Map, int Sign>
class CollapsedClusters {
   public:
    CollapsedClusters(const InterceptLoops& kernel, const Problem& problem, const LocationMap&, const Map& map, const Rule& rule, const double* theta, int order)
        : problem_(problem), beta_(theta), order_(order), p_(problem.p), psi_(kernel, map, rule, problem), own_(psi_.own.count), four_(problem), rows_(p_),
          means_(p_), row_sums_(p_), mean_sums_(p_), own_sums_(J > 0 ? p_ : 0) {
        psi_.integral.rows.resize(1);
        if constexpr (J > 0) {
            psi_.own.resize(1);
            if (has_own()) store(psi_.own.has(0, 0), all(1.0));
        }
    }

    CLUSTERGLM_INLINE void add(std::vector<std::int64_t>& clusters, double* modes, Sum& sum, const PerCluster& out) {
        sort_by_size(problem_, clusters);
        value_ = Pack{}, score_ = Others{}, hessian_ = Others{};
        row_sums_.begin(), mean_sums_.begin(), own_sums_.begin();
        const auto count = static_cast<int>(clusters.size());
        for (int first = 0; first < count; first += kLanes) add_four(&clusters[first], std::min(count - first, kLanes), modes, out);
        flush_rows(), flush_means();
        sum.value += reduce(value_);
        const int sigma = p_ + own_;
        double *score = sum.score.data(), *hessian = sum.hessian.data(), *last = hessian + sigma * sum.stride;
        row_sums_.end(score, hessian, sum.stride);
        score[sigma] += reduce(score_.sigma);
        mean_sums_.end(last, hessian, sum.stride);
        last[sigma] += reduce(hessian_.sigma);
        if (!has_own()) return;
        own_sums_.end(hessian + p_ * sum.stride, hessian, sum.stride);
        score[p_] += reduce(score_.own);
        hessian[p_ * sum.stride + p_] += reduce(hessian_.own), last[p_] += reduce(hessian_.both);
    }

   private:
    static constexpr int kMost = Columns::kPacks;
    static constexpr double kSign = Sign;
    static constexpr int J = Sign < 0 ? 1 : 0;  // gamma: its shape

    // Sums over clusters, of the response's own parameter and of sigma.
    struct Others {
        Pack own, both, sigma;
    };

    const Problem& problem_;
    const double* beta_;
    int order_, p_;
    Psi<Map, J> psi_;
    const int own_;  // parameters of the response's own: none, or one that all rows have
    FourClusters four_;
    std::vector<double> a_, eta_, share_;  // packs, of the four clusters' rows; shares in their exposures
    Columns rows_, means_;               // rows that wait to be added up, and means of clusters weighted by shares
    int filled_ = 0, mean_count_ = 0;    // packs of them
    double G_[Columns::kRows], H_[Columns::kRows], cross_[Columns::kRows], curvature_[Columns::kRows];
    double own_rows_[Columns::kRows], own_means_[Columns::kRows];  // what rows and means have in second derivatives in the response's own
    ColumnSums row_sums_, mean_sums_, own_sums_;
    Pack value_;
    Others score_, hessian_;

    bool has_own() const {
        if constexpr (J > 0) return own_ > 0;
        else return false;
    }

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
            const Pack eta = kSign * load(&eta_[j * kLanes]), a_j = load(&a_[j * kLanes]);
            top = eta > top ? eta : top;
            a += a_j, a_eta += a_j * eta;
        }
        for (int j = 0; j < n; ++j) {
            const Pack share = load(&share_[j * kLanes]) * lanes::exp(kSign * load(&eta_[j * kLanes]) - top);
            store(&share_[j * kLanes], share);
            exposure += share;
        }

        auto& integral = psi_.integral;
        Pack apart;  // what of log P is not in the one row
        if constexpr (J > 0) {
            integral.rows.set_only(kSign * top, lanes::exp(kSign * top), a, exposure);
            apart = a_eta - a * top;
        } else {
            const Pack kappa = top + lanes::log(exposure);
            integral.rows.set_only(kappa, exposure * lanes::exp(top), a, all(1.0));
            apart = a_eta - a * kappa;
        }
        psi_.evaluate(four_.mode, order_);
        const Pack value = weight * (integral.moments.value + apart);
        value_ += value;
        integral.write(clusters, count, value, modes, out);
        if (order_ == 0) return;

        // With x_mean the gradient of kappa and `excess` the derivative in kappa of everything but sum a*eta, for Poisson:
        // score = sum a x + excess x_mean, Hessian = excess sum share x x' + (M - excess) x_mean x_mean'.
        const int sigma = 1 + own_;  // its place in psi
        const Pack excess = load(psi_.score()) - kSign * a, per_exposure = 1.0 / exposure, on_share = weight * excess * per_exposure;
        Others score{Pack{}, Pack{}, weight * load(psi_.score() + sigma * kLanes)};
        if (has_own()) score.own = weight * (load(psi_.score() + kLanes) + apart);
        score_.own += score.own, score_.sigma += score.sigma;
        if (order_ > 1) {
            const double *M = psi_.hessian(), *last = M + sigma * (sigma + 1) * kLanes;
            store(cross_ + mean_count_ * kLanes, weight * load(last));
            store(curvature_ + mean_count_ * kLanes, weight * (load(M) - kSign * excess));
            hessian_.sigma += weight * load(last + sigma * kLanes);
            if (has_own()) {  // w multiplies a, and so what is apart: its derivatives in w are itself
                const double* middle = M + (sigma + 1) * kLanes;
                store(own_means_ + mean_count_ * kLanes, weight * (load(middle) - kSign * a));
                hessian_.own += weight * (load(middle + kLanes) + apart);
                hessian_.both += weight * load(last + kLanes);
            }
        }
        for (int l = 0; out.scores && l < count; ++l) {
            double* to = out.scores + clusters[l] * (p_ + own_ + 1);
            std::fill_n(to, p_, 0.0);
            to[p_] = score.own[l], to[p_ + own_] = score.sigma[l];
        }
        for (int first = 0; first < n; first += kMost) {
            const int packs = std::min(n - first, kMost);
            if (!kept) checkpoint(static_cast<std::int64_t>(packs) * p_);
            for (int j = 0; j < packs; ++j) {
                if (!kept) rows_.set(j, four_.rows(first + j));
                const Pack H = on_share * load(&share_[(first + j) * kLanes]);
                const Pack a_j = kSign * (weight * load(&a_[(first + j) * kLanes]));
                store(G_ + (filled_ + j) * kLanes, a_j + H);
                store(H_ + (filled_ + j) * kLanes, kSign * H);
                if constexpr (J > 0) store(own_rows_ + (filled_ + j) * kLanes, a_j);
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
        Pack a{}, b{}, eta = all(-kSign * 1e300);  // a row that is not there has no share
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
            for (int l = 0; l < count; ++l) scores[clusters[l] * (p_ + own_ + 1) + r] += sum[l];
        }
    }

    CLUSTERGLM_INLINE void flush_rows() {
        if (order_ > 0) row_sums_.add(rows_, filled_, G_, order_ > 1 ? H_ : nullptr);
        if (order_ > 1 && has_own()) own_sums_.add(rows_, filled_, own_rows_, nullptr);
        filled_ = 0;
    }
    CLUSTERGLM_INLINE void flush_means() {
        mean_sums_.add(means_, mean_count_, cross_, curvature_);
        if (has_own()) own_sums_.add(means_, mean_count_, own_means_, nullptr);
        mean_count_ = 0;
    }
};

}  // namespace clusterglm
