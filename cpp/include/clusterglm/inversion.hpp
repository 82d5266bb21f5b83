// The probability of a total of independent trials, and moments given it, from the characteristic function.
//
// N is the sum of independent binomials (T_j, pi_j), d a whole number at its mean or so, and Z = sum (B_j - T_j pi_j) x_j. With
// phi(t) = E exp(it(N - d)), P(N = d) is the mean of phi over a circle, E(Z; N = d) that of phi M and E(Z Z'; N = d) that of
// phi (M M' + S), where M and S are mean and covariance of Z after tilting by exp(it). Trapezoids are exact for them but for what
// totals d +- n, d +- 2n, ... add, n nodes on the whole circle: Bernstein's inequality bounds these. As |phi| <= exp(-V(1 - cos t)),
// V the variance of N, most nodes need not be visited either. Some two dozen are left, whatever the number of trials.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "lanes.hpp"

namespace clusterglm {

class Inversion {
   public:
    Inversion(int p, int order) : p_(p), order_(order), arrays_(2 + (order > 0 ? 2 * p : 0) + (order > 1 ? p * (p + 1) : 0)) {}

    // mean: of N less d. Nodes are chosen so that what is left out is less than 1e-12 of the results; these are NaN where it is not.
    void begin(double trials, double mean, double variance) {
        constexpr double kExponent = 60.0, kPi = 3.14159265358979323846;
        // P(N = d) is at least (1 + 12 V)^(-1/2) where d is the mean, which is the mode then (Darroch 1964; Bobkov, Marsiglietti
        // and Melbourne 2022). Of second moments the tails count by the root of their probability (Cauchy and Schwarz).
        const double exponent = kExponent + std::log1p(12.0 * variance);
        const double reach = exponent / 3.0 + std::sqrt(exponent * exponent / 9.0 + 2.0 * exponent * variance);
        const double most = std::fabs(mean) <= reach ? std::ceil(reach + std::fabs(mean)) : 0.0;  // 0 for NaN as well
        const bool all_totals = trials + 1.0 <= most;
        const double circle = 2.0 * std::floor(0.5 * std::min(trials + 1.0, most)) + 1.0;  // odd: no node at pi
        const double versine = exponent / variance, last = versine < 2.0 ? 2.0 * std::asin(std::sqrt(0.5 * versine)) : kPi;
        const int nodes = 1 + static_cast<int>(std::min(0.5 * (circle - 1.0), std::ceil(last * circle / (2.0 * kPi))));
        missing_ = all_totals && versine >= 2.0 ? 0.0 : std::sqrt(3.0 * std::exp(-exponent));
        mean_ = mean, per_node_ = 1.0 / circle;
        size_ = padded(nodes);
        for (auto* v : {&angle_, &sine_, &sine2_, &tangent_}) v->assign(static_cast<std::size_t>(size_), 0.0);
        for (int k = 0; k < nodes; ++k) {
            const double half = kPi * k / circle, s = std::sin(half);
            angle_[k] = 2.0 * half, sine_[k] = std::sin(2.0 * half), sine2_[k] = s * s, tangent_[k] = std::tan(half);
        }
        near_ = tangent_[nodes - 1] <= kNear;
        nodes_ = nodes;
        sums_.assign(static_cast<std::size_t>(arrays_) * size_, 0.0);
        tilted_.resize(static_cast<std::size_t>(2 * size_));
    }

    int nodes() const { return nodes_; }
    // Nanoseconds or so that a row takes.
    std::int64_t work() const { return static_cast<std::int64_t>(size_) * ((near_ ? 4 : 40) + arrays_ / kLanes); }

    // Rows with T trials of probability pi each.
    CLUSTERGLM_INLINE void add(double T, double pi, double rest, const double* x) {
        const double v = pi * rest, delta = pi - rest;
        if (near_) add_log_near(T, v, delta);
        else add_log(T, pi, rest);
        if (order_ == 0) return;
        // D = pi tilted, less pi; pi tilted (1 - pi tilted) = v - delta D - D^2
        for (int k = 0; k < size_; k += kLanes) {
            const Pack s2 = load(&sine2_[k]), by = T * v / ((1.0 - s2) + delta * delta * s2);
            const Pack re = by * (2.0 * delta) * s2, im = by * load(&sine_[k]);
            store(&tilted_[k], re), store(&tilted_[size_ + k], im);
        }
        for (int r = 0; r < p_; ++r) axpy(2 + 2 * r, x[r]);
        if (order_ < 2) return;
        for (int k = 0; k < size_; k += kLanes) {
            const Pack re = load(&tilted_[k]), im = load(&tilted_[size_ + k]), per = all(1.0 / T);
            store(&tilted_[k], T * v - delta * re - per * (re * re - im * im)), store(&tilted_[size_ + k], -delta * im - 2.0 * per * re * im);
        }
        for (int r = 0, at = 2 + 2 * p_; r < p_; ++r)
            for (int s = 0; s <= r; ++s, at += 2) axpy(at, x[r] * x[s]);
    }

    // After all rows: P(N = d), E(Z; N = d) as p numbers, and the lower triangle of E(Z Z'; N = d), as the order demands.
    CLUSTERGLM_INLINE double finish(double* first, double* second) const {
        double probability = 0.0;
        if (order_ > 0) std::fill_n(first, p_, 0.0);
        if (order_ > 1) std::fill_n(second, p_ * (p_ + 1) / 2, 0.0);
        for (int k = nodes_ - 1; k >= 0; --k) {
            const double size = (k == 0 ? 1.0 : 2.0) * per_node_ * std::exp(at(0, k)), argument = at(1, k) + angle_[k] * mean_;
            const double re = size * std::cos(argument), im = size * std::sin(argument);
            probability += re;
            if (order_ == 0) continue;
            for (int r = 0; r < p_; ++r) first[r] += re * at(2 + 2 * r, k) - im * at(3 + 2 * r, k);
            if (order_ < 2) continue;
            for (int r = 0, i = 0; r < p_; ++r)
                for (int s = 0; s <= r; ++s, ++i) {
                    const double a = at(2 + 2 * r, k), b = at(3 + 2 * r, k), c = at(2 + 2 * s, k), d = at(3 + 2 * s, k);
                    second[i] += re * (a * c - b * d + at(2 + 2 * p_ + 2 * i, k)) - im * (a * d + b * c + at(3 + 2 * p_ + 2 * i, k));
                }
        }
        return probability >= 1e12 * missing_ ? probability : std::numeric_limits<double>::quiet_NaN();
    }

   private:
    static constexpr double kNear = 0x1p-4;  // tangents of half the angle for which short series do

    int p_, order_, arrays_, nodes_ = 0, size_ = 0;
    double mean_ = 0.0, per_node_ = 0.0, missing_ = 0.0;
    bool near_ = false;
    std::vector<double> angle_, sine_, sine2_, tangent_;  // of nodes; sine2: squared, and the tangent, of half the angle
    std::vector<double> sums_, tilted_;  // real and imaginary parts, at all nodes: of log phi, of M, of S; and of what a row adds

    double at(int array, int k) const { return sums_[static_cast<std::size_t>(array) * size_ + k]; }
    double* sum(int array) { return &sums_[static_cast<std::size_t>(array) * size_]; }

    CLUSTERGLM_INLINE void axpy(int array, double by) {
        double* to = sum(array);
        for (int k = 0; k < 2 * size_; k += kLanes) store(to + k, load(to + k) + by * load(&tilted_[k]));
    }

    // T (log(pi e^it + rest) - it pi), for which no digits are lost where T is large and t is small. With u = tan(t/2) and
    // delta = pi - rest its real part is log(1 - 4 v sin^2(t/2))/2, its imaginary part atan(delta u) - delta atan(u).
    CLUSTERGLM_INLINE void add_log_near(double T, double v, double delta) {
        constexpr int kTerms = 8;
        double c[kTerms];  // (1 - delta^(2k))/(2k + 1), k = 1, 2, ..., with alternating signs
        for (double k = 1.0, power = 1.0, geometric = 0.0, sign = T * delta; k <= kTerms; ++k, power *= delta * delta, sign = -sign) {
            geometric += power;
            c[static_cast<int>(k) - 1] = sign * 4.0 * v * geometric / (2.0 * k + 1.0);
        }
        double *re = sum(0), *im = sum(1);
        for (int k = 0; k < size_; k += kLanes) {
            const Pack z = 4.0 * v * load(&sine2_[k]), u = load(&tangent_[k]), u2 = u * u;
            Pack log = z * (1.0 / 8.0) + 1.0 / 7.0, angle = all(c[kTerms - 1]);
            for (int i = 6; i > 0; --i) log = log * z + 1.0 / i;
            for (int i = kTerms - 2; i >= 0; --i) angle = angle * u2 + c[i];
            store(re + k, load(re + k) - 0.5 * T * z * log);
            store(im + k, load(im + k) + angle * u2 * u);
        }
    }

    void add_log(double T, double pi, double rest) {
        const double v = pi * rest, delta = pi - rest, least = std::min(pi, rest), sign = pi > rest ? T : -T;
        double *re = sum(0), *im = sum(1);
        for (int k = 0; k < nodes_; ++k) {
            const double z = 4.0 * v * sine2_[k];
            re[k] += 0.5 * T * (z < 0.5 ? std::log1p(-z) : std::log((1.0 - sine2_[k]) + delta * delta * sine2_[k]));
            im[k] += sign * (least * angle_[k] - std::atan2(least * sine_[k], 1.0 - 2.0 * least * sine2_[k]));
        }
    }
};

}  // namespace clusterglm
