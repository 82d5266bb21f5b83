// The intercepts that maximise the likelihood of each cluster of a group, at given coefficients
// (docs/explanation/likelihood.md, "Intercepts at their best").
#pragma once
#include <cmath>
#include <limits>

#include "group.hpp"
#include "parallel.hpp"

namespace clusterglm {

struct Intercepts {
    Pack gamma;       // 0 where there is no finite maximum
    Pack finite;      // 1 or 0
    Pack value;       // log-likelihood at gamma; G and H of the rows are in the group
    Pack S2;          // second derivative in gamma; -1 where there is no finite maximum
};

namespace detail {

template <class R>
CLUSTERGLM_INLINE void sums(const Group& group, Pack gamma, Pack& S1, Pack& S2, Pack& S3) {
    S1 = S2 = S3 = Pack{};
    if (group.in_range(gamma)) {
        const Pack E = lanes::exp(gamma);
        for (int j = 0; j < group.length; ++j) {
            const RowDerivatives<Pack> d = R::derivatives(group.row(j), gamma, E);
            S1 += d.G, S2 += d.H, S3 += d.I;
        }
    } else {
        for (int j = 0; j < group.length; ++j)
            for (int l = 0; l < kLanes; ++l) {
                const std::size_t at = Group::cell(j) + l;
                const StableTerms t = R::stable(group.eta[at] + gamma[l], group.a[at], group.b[at]);
                S1[l] += t.G, S2[l] += t.H, S3[l] += t.I;
            }
    }
    S1 = group.total(S1), S2 = group.total(S2), S3 = group.total(S3);
}

// Value, and G and H of all rows.
template <class R, bool Unit>
CLUSTERGLM_INLINE Pack terms(Group& group, Pack gamma, Pack& S2) {
    Pack value{}, factor = all(1.0);
    S2 = Pack{};
    if (!group.in_range(gamma)) {
        for (int j = 0; j < group.length; ++j)
            for (int l = 0; l < kLanes; ++l) {
                const std::size_t at = Group::cell(j) + l;
                const StableTerms t = R::stable(group.eta[at] + gamma[l], group.a[at], group.b[at]);
                value[l] += t.value, S2[l] += t.H;
                group.G[at] = t.G, group.H[at] = t.H;
            }
    } else {
        const Pack E = lanes::exp(gamma);
        double low = gamma[0], high = gamma[0];
        for (int l = 1; l < kLanes; ++l) low = std::min(low, gamma[l]), high = std::max(high, gamma[l]);
        const double bound = R::log_factor_bound(group.eta_low + low, group.eta_high + high);
        const int room = bound > 6e-4 ? static_cast<int>(600.0 / bound) : 1000000;  // factors until a product may overflow
        int left = room;
        for (int j = 0; j < group.length; ++j) {
            const Row<Pack> row = group.row(j);
            const NodeTerms<Pack> t = R::template node<Unit>(row, gamma, E);
            value += t.additive;
            if constexpr (R::kLinear) value += row.a * (row.eta + gamma);
            if constexpr (Unit) {
                factor *= t.factor;
                if (--left <= 0) value += lanes::log(factor), factor = all(1.0), left = room;
            }
            S2 += t.H;
            store(&group.G[Group::cell(j)], t.G), store(&group.H[Group::cell(j)], t.H);
        }
        if constexpr (Unit) value += lanes::log(factor);
    }
    S2 = group.total(S2);
    return group.total(value);
}

// log sum b e^eta of each cluster, whatever the size of eta.
inline Pack log_exposure(const Group& group) {
    Pack log{};
    for (int l = 0; l < group.count; ++l) {
        double high = -std::numeric_limits<double>::infinity(), sum = 0.0;
        for (int j = 0; j < group.size[l]; ++j) high = std::max(high, group.eta[group.index(l, j)]);
        for (int j = 0; j < group.size[l]; ++j) sum += group.b[group.index(l, j)] * std::exp(group.eta[group.index(l, j)] - high);
        log[l] = sum > 0.0 ? std::log(sum) + high : 0.0;
    }
    return group.one ? all(log[0]) : log;
}

// Halley steps inside a bracket that only shrinks; the kernel is concave in gamma, so its slope has one root.
template <class R>
CLUSTERGLM_INLINE Pack climb(const Group& group, Pack gamma, Pack finite) {
    constexpr int kMaxSteps = 200, kPatience = 8;
    constexpr double kInfinity = std::numeric_limits<double>::infinity(), kNear = 1e-4, kCalm = 0.02, kReach = 4.0;
    const Pack zero{};
    Pack low = all(-kInfinity), high = all(kInfinity), open = finite;
    for (int step_number = 0; step_number < kMaxSteps; ++step_number) {
        Pack S1, S2, S3;
        if (group.one) checkpoint(group.size[0]);
        sums<R>(group, gamma, S1, S2, S3);
        const auto up = S1 > zero;
        low = up ? gamma : low;
        high = up ? high : gamma;
        const auto curved = S2 < zero;
        const Pack curvature = curved ? S2 : all(-1.0), halley = curvature - 0.5 * S1 * S3 / curvature;
        Pack step = -S1 / (halley < 0.5 * curvature ? halley : curvature);
        step = curved ? step : (up ? all(kReach) : all(-kReach));
        // Near in standard errors, and where the curvature hardly changes over the step: it ends below rounding then. The second
        // matters where the likelihood is nearly flat, and everything is near.
        const Pack change = S3 * step;
        const auto near = (S1 * S1 <= -kNear * kNear * curvature) & ((change < zero ? -change : change) <= -kCalm * curvature);
        const auto there = (curved & near) | (S1 == zero);
        const Pack longest = kReach + 0.5 * (gamma < zero ? -gamma : gamma);
        step = step > longest ? longest : (step < -longest ? -longest : step);
        Pack next = gamma + step;
        const Pack middle = 0.5 * (low + high);
        const auto bracketed = (low > zero - kInfinity) & (high < zero + kInfinity);
        const auto outside = (next <= low) | (next >= high);
        next = bracketed & outside & ~there ? middle : next;
        // Against an exponential wall steps creep: double them until the root lies between two points, then halve every other time.
        if (step_number > kPatience) {
            const Pack leap = all(std::ldexp(1.0, std::min(step_number - kPatience, 60)));
            next = bracketed | there ? next : gamma + (up ? leap : -leap);
            if (step_number % 2 == 0) next = bracketed & ~there ? middle : next;
        }
        gamma = open > zero ? next : gamma;
        open = there ? zero : open;
        // two neighbours of doubles that cannot be told apart
        open = bracketed & (high - low <= 1e-15 * (1.0 + (low < zero ? -low : low))) ? zero : open;
        if (reduce(open) == 0.0) break;
    }
    return gamma;
}

// Towards which end of the intercept the likelihood of n rows with these sums of a and b rises for ever, -1 or 1; 0 with a maximum. Kernels
// in which a and b are something else than successes and failures, or counts and weights, know it themselves.
template <class R>
inline int rises_towards(double a, double b, int n) {
    if constexpr (requires { R::rises_towards(a, b, n); }) return R::rises_towards(a, b, n);
    if (a > 0.0 && (R::kCollapses > 0 || b > 0.0)) return 0;
    return a > 0.0 ? 1 : -1;
}

}  // namespace detail

// start: where the search begins, one number a cluster; infinite or nan for none.
template <class R>
CLUSTERGLM_INLINE Intercepts intercepts(const Problem& problem, Group& group, const double* start) {
    Intercepts at{};
    Pack A = all(1.0), B = all(1.0);
    for (int l = 0; l < kLanes; ++l) {
        const int c = group.one ? 0 : l;
        if (c >= group.count) continue;
        const bool finite = detail::rises_towards<R>(group.sum_a[c], group.sum_b[c], static_cast<int>(group.size[c])) == 0;
        at.finite[l] = finite ? 1.0 : 0.0;
        if (finite) A[l] = group.sum_a[c], B[l] = group.sum_b[c];
    }
    if (reduce(at.finite) > 0.0) {
        const bool fast = group.in_range(Pack{});
        if (fast) group.exponentiate();
        if constexpr (R::kCollapses > 0) {
            Pack sum{};
            for (int j = 0; fast && j < group.length; ++j) sum += clusterglm::load(&group.b[Group::cell(j)]) * clusterglm::load(&group.e[Group::cell(j)]);
            sum = group.total(sum);
            const auto usable = (at.finite > Pack{}) & (sum > Pack{});
            at.gamma = lanes::log(A) - (fast ? lanes::log(usable ? sum : all(1.0)) : detail::log_exposure(group));
        } else {
            Pack begin = lanes::log(A) - lanes::log(B) - 0.5 * (group.eta_low + group.eta_high);
            for (int l = 0; l < kLanes; ++l) {
                const double warm = start[group.cluster[group.one || l >= group.count ? 0 : l]];
                if (std::isfinite(warm)) begin[l] = warm;
            }
            at.gamma = detail::climb<R>(group, begin, at.finite);
        }
        at.gamma = at.finite > Pack{} ? at.gamma : Pack{};
        at.value = problem.unit && group.full ? detail::terms<R, true>(group, at.gamma, at.S2)
                                              : detail::terms<R, false>(group, at.gamma, at.S2);
    }
    at.S2 = (at.finite > Pack{}) & (at.S2 < Pack{}) ? at.S2 : all(-1.0);
    return at;
}

// What the caller learns of a cluster's intercept: infinite where all responses are 0, or all are successes.
template <class R>
inline double reported(const Group& group, const Intercepts& at, int l) {
    if (at.finite[l] > 0.0) return at.gamma[l];
    const int towards = detail::rises_towards<R>(group.sum_a[l], group.sum_b[l], static_cast<int>(group.size[l]));
    return towards > 0 ? std::numeric_limits<double>::infinity() : -std::numeric_limits<double>::infinity();
}

}  // namespace clusterglm
