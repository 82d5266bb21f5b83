// Fixed cluster effects: the log-likelihood with every cluster's intercept at its maximum, exact score and Hessian
// (docs/explanation/likelihood.md, "Intercepts at their best"). Rows enter as deviations from their cluster's mean, weighted by H:
// the Hessian is then one sum of squares, and the score does not feel, to first order, what is left of an error in the intercept.
#pragma once
#include <vector>

#include "blocks.hpp"
#include "gram.hpp"
#include "intercept.hpp"

namespace clusterglm {

// Optional results by cluster: -d2/dgamma2, means of x weighted by H (p each), scores with cluster weights (p each).
struct ProfileOutputs {
    double *information, *means, *scores;
};

// Rows of X less the mean of their cluster, waiting to enter the sums in one product.
class Deviations {
   public:
    explicit Deviations(int p) : p_(p), x_(static_cast<std::size_t>(Columns::kRows) * p), mean_(p), columns_(p), sums_(p) {}

    const double* mean() const { return mean_.data(); }

    // One cluster's rows, with weight * G and weight * H from the group's lane; the mean is left in mean().
    CLUSTERGLM_INLINE void add(const Problem& problem, const Group& group, int lane, double weight, double S2, int order) {
        const int n = group.size[lane];
        std::fill(mean_.begin(), mean_.end(), 0.0);
        if (p_ == 0) return;
        const double* x = problem.X + group.start[lane] * p_;
        for (int j = 0; j < n; ++j) {
            const double h = group.H[group.index(lane, j)];
            for (int r = 0; r < p_; ++r) mean_[r] += h * x[static_cast<std::size_t>(j) * p_ + r];
        }
        for (int r = 0; r < p_; ++r) mean_[r] /= S2;
        for (int j = 0; j < n; ++j) {
            if (filled_ == Columns::kRows) flush(order);
            double* to = &x_[static_cast<std::size_t>(filled_) * p_];
            const double* from = x + static_cast<std::size_t>(j) * p_;
            for (int r = 0; r < p_; ++r) to[r] = from[r] - mean_[r];
            g_[filled_] = weight * group.G[group.index(lane, j)];
            h_[filled_++] = weight * group.H[group.index(lane, j)];
        }
    }

    CLUSTERGLM_INLINE void end(int order, Sum& sum) {
        flush(order);
        sums_.end(sum.score.data(), sum.hessian.data(), sum.stride);
    }

   private:
    int p_, filled_ = 0;
    std::vector<double> x_, mean_;
    Columns columns_;
    ColumnSums sums_;
    double g_[Columns::kRows], h_[Columns::kRows];

    CLUSTERGLM_INLINE void flush(int order) {
        checkpoint(static_cast<std::int64_t>(filled_) * (1 + p_));
        for (int j = filled_; j < padded(filled_); ++j) g_[j] = h_[j] = 0.0;
        columns_.by_four(x_.data(), filled_, [&](int i, const FourRows& row) CLUSTERGLM_INLINE_LAMBDA { columns_.set(i, row); });
        sums_.add(columns_, padded(filled_) / kLanes, g_, order > 1 ? h_ : nullptr);
        filled_ = 0;
    }
};

template <class R>
void profile_block(const Problem& problem, const double* beta, int order, std::int64_t first, std::int64_t last, double* gammas,
                   const ProfileOutputs& out, Sum& sum) {
    const int p = problem.p;
    Group group;
    Deviations deviations(p);
    Groups groups(problem, first, last);
    const std::int64_t* members = nullptr;
    while (const int n = groups.next(members)) {
        group.load(problem, members, n, beta);
        const Intercepts at = intercepts<R>(problem, group, gammas);
        for (int l = 0; l < n; ++l) {
            const std::int64_t c = members[l];
            const bool finite = at.finite[l] > 0.0;
            gammas[c] = reported<R>(group, at, l);
            if (out.information) out.information[c] = finite ? -at.S2[l] : 0.0;
            if (out.means) std::fill_n(out.means + c * p, p, 0.0);
            if (out.scores) std::fill_n(out.scores + c * p, p, 0.0);
            if (!finite) continue;
            const double weight = problem.cluster_weights[c];
            sum.value += weight * at.value[l];
            if (order == 0 && !out.means && !out.scores) continue;
            deviations.add(problem, group, l, weight, at.S2[l], order);
            if (out.means) std::copy_n(deviations.mean(), p, out.means + c * p);
            if (out.scores)
                for (int j = 0; j < group.size[l]; ++j)
                    for (int r = 0; r < p; ++r)
                        out.scores[c * p + r] += weight * group.G[group.index(l, j)] * (problem.X[(group.start[l] + j) * p + r] - deviations.mean()[r]);
        }
    }
    deviations.end(order, sum);
}

// gammas: one intercept per cluster, where its search starts (any value that is not finite: nowhere in particular); updated.
template <class R>
bool profile(const Problem& problem, const double* beta, int order, double* gammas, const ProfileOutputs& out, int threads, Sum& total,
             const std::function<bool()>& interrupted) {
    return sum_over_blocks(
        problem, Selection{nullptr, problem.clusters}, problem.p, threads,
        [&](int, std::int64_t first, std::int64_t last, Sum& sum) { profile_block<R>(problem, beta, order, first, last, gammas, out, sum); }, total,
        interrupted);
}

}  // namespace clusterglm
