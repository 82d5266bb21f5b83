// Conditional logistic regression: the likelihood given every cluster's number of successes, where intercepts drop out
// (docs/explanation/likelihood.md, "Given the totals").
//
// With any intercept gamma, successes are independent with probabilities pi_j, and P(data | total d) = P(data) / P(total = d). At the
// intercept that maximises P(data) the expected total is d itself, so that P(total = d) is the middle of its distribution: the
// recursion over rows that gives it (the elementary symmetric functions', of Gail, Lubin and Rubinstein 1981, tilted) can neither
// overflow nor lose what matters to underflow, whatever the size of the cluster. The first two moments of sum of x over successes
// follow by the same recursion, and with them score and Hessian. Where there are too many trials for that, an integral gives the
// same (inversion.hpp).
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "blocks.hpp"
#include "intercept.hpp"
#include "inversion.hpp"
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

    // Steps that `trials` of them take, of all arrays.
    static double steps(double trials, double d, double variance) { return trials * (2.0 + std::min(d, 2.0 * reach(variance)) / kLanes); }
    // Nanoseconds or so that the next takes.
    std::int64_t work() const { return (2 + (high_ - low_) / kLanes) * arrays_; }

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

    // Beyond so much from the mean, Bernstein's inequality leaves less than e^-60 of the probability.
    static double reach(double variance) {
        constexpr double kExponent = 60.0;
        return kExponent / 3.0 + std::sqrt(kExponent * kExponent / 9.0 + 2.0 * kExponent * variance) + 1.0;
    }

    // The totals worth following: those from which d can still be reached, less those that are out of reach by what came before
    // or by what is to come.
    CLUSTERGLM_INLINE void narrow() {
        const double far = reach(std::max(0.0, std::min(so_far_, variance_ - so_far_)));
        low_ = std::max({low_, d_ - left_, static_cast<std::int64_t>(std::floor(mean_ - far))});
        high_ = std::max(high_, std::min({done_, d_, static_cast<std::int64_t>(std::ceil(mean_ + far))}));
        low_ = std::min(low_, high_);
    }
};

class ConditionalCluster {
   public:
    ConditionalCluster(int p, int order)
        : p_(p), order_(order), count_(p, order), inversion_(p, order), centre_(p), x_(p), total_(p), expected_(p), first_(p),
          second_(static_cast<std::size_t>(p) * (p + 1) / 2) {}

    CLUSTERGLM_INLINE void add(const Problem& problem, const Group& group, int lane, const Intercepts& at, Sum& sum, double* score_out) {
        const double weight = problem.cluster_weights[group.cluster[lane]];
        read(problem, group, lane, at.gamma[lane]);
        const double probability = recursion_is_quick() ? by_recursion() : by_inversion();
        sum.value += weight * (at.value[lane] - std::log(probability));
        if (order_ == 0) return;
        for (int r = 0; r < p_; ++r) {
            sum.score[r] += weight * (total_[r] - expected_[r]);
            if (score_out) score_out[r] = weight * (total_[r] - expected_[r]);
        }
        if (order_ < 2) return;
        for (int r = 0, i = 0; r < p_; ++r)
            for (int s = 0; s <= r; ++s, ++i)
                sum.hessian[static_cast<std::size_t>(r) * sum.stride + s] -= weight * (second_[i] / probability - first_[r] * first_[s]);
    }

   private:
    int p_, order_;
    SuccessCount count_;
    Inversion inversion_;
    // The cluster: trials, successes among them and probabilities of its rows, and sums of these.
    int n_ = 0;
    const double* X_ = nullptr;
    std::vector<double> size_, a_, pi_, rest_;
    double trials_ = 0.0, successes_ = 0.0, mean_ = 0.0, variance_ = 0.0;
    // Sums of x over the data's successes and what is expected given their number, x being less `centre`. First and second moments:
    // of such sums, the first given the number, the second times its probability; both are used for their covariance only.
    std::vector<double> centre_, x_, total_, expected_, first_, second_;

    CLUSTERGLM_INLINE void read(const Problem& problem, const Group& group, int lane, double gamma) {
        n_ = group.size[lane], X_ = problem.X + group.start[lane] * p_;
        trials_ = successes_ = mean_ = variance_ = 0.0;
        std::fill(centre_.begin(), centre_.end(), 0.0);
        if (static_cast<int>(pi_.size()) < n_)
            for (auto* v : {&size_, &a_, &pi_, &rest_}) v->resize(static_cast<std::size_t>(n_));
        for (int j = 0; j < n_; ++j) {
            const int cell = group.index(lane, j);
            const double size = group.a[cell] + group.b[cell], lambda = group.eta[cell] + gamma;
            const double z = std::exp(-std::fabs(lambda)), small = z / (1.0 + z), large = 1.0 / (1.0 + z);
            size_[j] = size, a_[j] = group.a[cell];
            pi_[j] = lambda > 0.0 ? large : small, rest_[j] = lambda > 0.0 ? small : large;
            trials_ += size, successes_ += group.a[cell];
            mean_ += size * pi_[j], variance_ += size * pi_[j] * rest_[j];
            for (int r = 0; r < p_; ++r) centre_[r] += size * pi_[j] * rest_[j] * X_[static_cast<std::size_t>(j) * p_ + r];
        }
        for (int r = 0; r < p_; ++r) centre_[r] = variance_ > 0.0 ? centre_[r] / variance_ : X_[r];
        std::fill(total_.begin(), total_.end(), 0.0);
        std::fill(expected_.begin(), expected_.end(), 0.0);
    }

    CLUSTERGLM_INLINE void centre(int j) {
        for (int r = 0; r < p_; ++r) x_[r] = X_[static_cast<std::size_t>(j) * p_ + r] - centre_[r];
    }

    // In all, or next to the inversion, which takes as long as so many steps for each row.
    bool recursion_is_quick() const {
        constexpr double kQuick = 1 << 18, kPerRow = 100.0;
        return SuccessCount::steps(trials_, std::min(successes_, trials_ - successes_), variance_) <= std::max(kQuick, kPerRow * n_);
    }

    CLUSTERGLM_INLINE double by_recursion() {
        const bool swapped = 2.0 * successes_ > trials_;  // failures are the fewer
        if (swapped) pi_.swap(rest_);
        const double d = swapped ? trials_ - successes_ : successes_, mean = swapped ? trials_ - mean_ : mean_;
        count_.begin(static_cast<std::int64_t>(trials_), static_cast<std::int64_t>(d), mean, variance_);
        for (int j = 0; j < n_; ++j) {
            centre(j);
            for (int r = 0; r < p_; ++r) {
                total_[r] += a_[j] * x_[r];
                if (swapped) expected_[r] += size_[j] * x_[r];
            }
            for (double trial = 0.0; trial < size_[j]; ++trial) count_.add(pi_[j], rest_[j], x_.data());
            if (n_ >= Group::kLong) checkpoint(count_.work() * static_cast<std::int64_t>(size_[j]));
        }
        if (n_ < Group::kLong) checkpoint(count_.work() * static_cast<std::int64_t>(trials_));
        const double probability = count_.probability();
        for (int r = 0, i = 0; order_ > 0 && r < p_; ++r) {
            first_[r] = count_.first(r) / probability;
            expected_[r] = swapped ? expected_[r] - first_[r] : first_[r];
            for (int s = 0; order_ > 1 && s <= r; ++s, ++i) second_[i] = count_.second(r, s);
        }
        return probability;
    }

    CLUSTERGLM_INLINE double by_inversion() {
        double excess = 0.0;
        for (int j = 0; j < n_; ++j) excess += size_[j] * pi_[j] - a_[j];
        inversion_.begin(trials_, excess, variance_);
        for (int j = 0; j < n_; ++j) {
            if (size_[j] == 0.0) continue;
            centre(j);
            for (int r = 0; r < p_; ++r) total_[r] += (a_[j] - size_[j] * pi_[j]) * x_[r];
            inversion_.add(size_[j], pi_[j], rest_[j], x_.data());
            checkpoint(inversion_.work());
        }
        const double probability = inversion_.finish(first_.data(), second_.data());
        for (int r = 0; order_ > 0 && r < p_; ++r) expected_[r] = first_[r] /= probability;
        return probability;
    }
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
