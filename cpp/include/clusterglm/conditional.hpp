// Conditional logistic regression: the likelihood given every cluster's number of successes, where intercepts drop out.
//
// With any intercept gamma, successes are independent with probabilities pi_j, and P(data | total d) = P(data) / P(total = d). At the
// intercept that maximises P(data) the expected total is d itself, so that P(total = d) is the middle of its distribution: the
// recursion over rows that gives it (the elementary symmetric functions', of Gail, Lubin and Rubinstein 1981, tilted) can neither
// overflow nor lose what matters to underflow, whatever the size of the cluster. The first two moments of sum of x over successes
// follow by the same recursion, and with them score and Hessian.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "blocks.hpp"
#include "intercept.hpp"
#include "response/binomial_logit.hpp"

namespace clusterglm {

// P(N = k), and the sums of B x and of (B x)(B x)' over the event N = k, of independent Bernoulli B_j with N = sum B_j.
class SuccessCount {
   public:
    SuccessCount(int p, int order) : p_(p), order_(order), arrays_(order == 0 ? 1 : order == 1 ? 1 + p : 1 + p + p * (p + 1) / 2) {}

    // d: the total that is asked for in the end; no larger one is followed.
    void begin(std::int64_t trials, std::int64_t d, double mean, double variance) {
        d_ = d, left_ = trials, done_ = 0, low_ = high_ = 0;
        variance_ = variance, mean_ = 0.0, so_far_ = 0.0;
        total_mean_ = mean;
        width_ = static_cast<std::size_t>(d) / kLanes * kLanes + 2 * kLanes;
        A_.assign(static_cast<std::size_t>(arrays_) * width_, 0.0);
        at(0)[0] = 1.0;
    }

    CLUSTERGLM_INLINE void add(double pi, double rest, const double* x) {
        --left_, ++done_;
        mean_ += pi, so_far_ += pi * rest;
        const std::int64_t before = low_ / kLanes;
        narrow();
        const Pack P1 = all(pi), P0 = all(rest);
        for (std::int64_t k = high_ / kLanes * kLanes; k >= low_ / kLanes * kLanes; k -= kLanes) {
            double* P = at(0) + k;
            const Pack p_old = load(P), p_shifted = load(P - 1);
            double* S = order_ == 2 ? at(1 + p_) + k : nullptr;
            for (int r = 0; order_ == 2 && r < p_; ++r) {
                const Pack T = load(at(1 + r) + k - 1) + x[r] * p_shifted;
                for (int s = 0; s <= r; ++s, S += width_)
                    store(S, P0 * load(S) + P1 * (load(S - 1) + x[r] * load(at(1 + s) + k - 1) + x[s] * T));
            }
            for (int r = 0; order_ > 0 && r < p_; ++r) {
                double* M = at(1 + r) + k;
                store(M, P0 * load(M) + P1 * (load(M - 1) + x[r] * p_shifted));
            }
            store(P, P0 * p_old + P1 * p_shifted);
        }
        if (low_ / kLanes > before)  // what is left behind must not come back
            for (int array = 0; array < arrays_; ++array) at(array)[low_ / kLanes * kLanes - 1] = 0.0;
    }

    double probability() { return at(0)[d_]; }
    double first(int r) { return at(1 + r)[d_]; }
    double second(int r, int s) { return at(1 + p_ + r * (r + 1) / 2 + s)[d_]; }

   private:
    int p_, order_, arrays_;
    std::int64_t d_ = 0, left_ = 0, done_ = 0, low_ = 0, high_ = 0;
    double mean_ = 0.0, so_far_ = 0.0, variance_ = 0.0, total_mean_ = 0.0;
    std::size_t width_ = 0;
    std::vector<double> A_;

    double* at(int array) { return A_.data() + array * width_ + kLanes; }  // zeros before k = 0

    // The totals worth following: those from which d can still be reached, less those that Bernstein's inequality, on what
    // came before or on what is to come, gives less than e^-60 of the probability.
    CLUSTERGLM_INLINE void narrow() {
        constexpr double kExponent = 60.0;
        const double v = std::max(0.0, std::min(so_far_, variance_ - so_far_));
        const double reach = kExponent / 3.0 + std::sqrt(kExponent * kExponent / 9.0 + 2.0 * kExponent * v) + 1.0;
        low_ = std::max({low_, d_ - left_, static_cast<std::int64_t>(std::floor(mean_ - reach))});
        high_ = std::max(high_, std::min({done_, d_, static_cast<std::int64_t>(std::ceil(mean_ + reach))}));
        low_ = std::min(low_, high_);
    }
};

class ConditionalCluster {
   public:
    ConditionalCluster(int p, int order) : p_(p), order_(order), count_(p, order), mean_(p), total_(p), expected_(p), x_(p) {}

    CLUSTERGLM_INLINE void add(const Problem& problem, const Group& group, int lane, const Intercepts& at, Sum& sum, double* score_out) {
        const int n = group.size[lane];
        const double weight = problem.cluster_weights[group.cluster[lane]], gamma = at.gamma[lane];
        const double* X = problem.X + group.start[lane] * p_;
        std::int64_t trials = 0;
        double successes = 0.0, mean = 0.0, variance = 0.0;
        std::fill(mean_.begin(), mean_.end(), 0.0);
        if (static_cast<int>(pi_.size()) < n) pi_.resize(n), rest_.resize(n);
        for (int j = 0; j < n; ++j) {
            const int cell = group.index(lane, j);
            const double size = group.a[cell] + group.b[cell], lambda = group.eta[cell] + gamma;
            const double z = std::exp(-std::fabs(lambda)), small = z / (1.0 + z), large = 1.0 / (1.0 + z);
            pi_[j] = lambda > 0.0 ? large : small, rest_[j] = lambda > 0.0 ? small : large;
            trials += static_cast<std::int64_t>(std::llround(size)), successes += group.a[cell];
            mean += size * pi_[j], variance += size * pi_[j] * rest_[j];
            for (int r = 0; r < p_; ++r) mean_[r] += size * pi_[j] * rest_[j] * X[static_cast<std::size_t>(j) * p_ + r];
        }
        for (int r = 0; r < p_; ++r) mean_[r] = variance > 0.0 ? mean_[r] / variance : X[r];
        std::int64_t d = static_cast<std::int64_t>(std::llround(successes));
        const bool swapped = 2 * d > trials;  // failures are the fewer
        if (swapped) {
            d = trials - d, mean = static_cast<double>(trials) - mean;
            pi_.swap(rest_);
        }
        count_.begin(trials, d, mean, variance);
        std::fill(total_.begin(), total_.end(), 0.0);
        std::fill(expected_.begin(), expected_.end(), 0.0);
        for (int j = 0; j < n; ++j) {
            const int cell = group.index(lane, j);
            const int size = static_cast<int>(std::llround(group.a[cell] + group.b[cell]));
            for (int r = 0; r < p_; ++r) {
                x_[r] = X[static_cast<std::size_t>(j) * p_ + r] - mean_[r];
                total_[r] += group.a[cell] * x_[r];
                if (swapped) expected_[r] += size * x_[r];
            }
            for (int trial = 0; trial < size; ++trial) count_.add(pi_[j], rest_[j], x_.data());
        }
        const double probability = count_.probability();
        sum.value += weight * (at.value[lane] - std::log(probability));
        if (order_ == 0) return;
        for (int r = 0; r < p_; ++r) {
            const double moment = count_.first(r) / probability;
            x_[r] = moment;
            expected_[r] = swapped ? expected_[r] - moment : moment;
            sum.score[r] += weight * (total_[r] - expected_[r]);
            if (score_out) score_out[r] = weight * (total_[r] - expected_[r]);
        }
        if (order_ < 2) return;
        for (int r = 0; r < p_; ++r)
            for (int s = 0; s <= r; ++s)
                sum.hessian[static_cast<std::size_t>(r) * sum.stride + s] -= weight * (count_.second(r, s) / probability - x_[r] * x_[s]);
    }

   private:
    int p_, order_;
    SuccessCount count_;
    std::vector<double> mean_, total_, expected_, x_, pi_, rest_;
};

inline void conditional_block(const Problem& problem, const double* beta, int order, std::int64_t first, std::int64_t last,
                              double* gammas, double* scores, Sum& sum) {
    Group group;
    ConditionalCluster one(problem.p, order);
    Groups groups(problem, first, last);
    const std::int64_t* members = nullptr;
    while (const int n = groups.next(members)) {
        group.load(problem, members, n, beta);
        const Intercepts at = intercepts<BinomialLogit>(problem, group, gammas);
        for (int l = 0; l < n; ++l) {
            gammas[members[l]] = reported<BinomialLogit>(group, at, l);
            double* score = scores ? scores + members[l] * problem.p : nullptr;
            if (score) std::fill_n(score, problem.p, 0.0);
            if (at.finite[l] > 0.0) one.add(problem, group, l, at, sum, score);
        }
    }
}

// Rows must have whole numbers a and b. gammas: as for `profile`; they only tilt the recursion. scores: clusters by p, or null.
inline bool conditional(const Problem& problem, const double* beta, int order, double* gammas, double* scores, int threads, Sum& total,
                        const std::function<bool()>& interrupted) {
    return sum_over_blocks(
        problem, Selection{nullptr, problem.clusters}, problem.p, threads,
        [&](int, std::int64_t first, std::int64_t last, Sum& sum) { conditional_block(problem, beta, order, first, last, gammas, scores, sum); },
        total, interrupted);
}

}  // namespace clusterglm
