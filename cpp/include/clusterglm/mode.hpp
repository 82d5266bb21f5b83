// The mode of a cluster's integrand g(s) = a(s) + sum log P: Halley steps inside a bracket that only shrinks.
#pragma once
#include <cmath>
#include <limits>

#include "location.hpp"
#include "nodes.hpp"
#include "rows.hpp"

namespace clusterglm {

struct Mode {
    double s;
    Location at;
    DerivativeSums sums;
    double g_ss, g_sss, g_ssss;
};

// Values of g at fixed points over the whole line, to choose between modes where there may be several.
struct Scan {
    static constexpr int kPoints = 40;
    Nodes nodes{kPoints};

    CLUSTERGLM_INLINE void prepare(const LocationMap& map, double sigma) {
        constexpr double kHalfWidth = 8.0;
        for (int k = 0; k < kPoints; ++k) nodes.s[k] = map.scan_point(kHalfWidth * (2.0 * k / (kPoints - 1) - 1.0));
        nodes.locate(map, sigma);
    }

    struct Bracket {
        double best, low, high;
    };

    template <class R>
    CLUSTERGLM_INLINE Bracket search(const ClusterRows& rows, bool unit) {
        for (int k = 0; k < kPoints; ++k) nodes.q[k] = nodes.a[k], nodes.S1[k] = nodes.S2[k] = 0.0;
        all_nodes<R, false>(rows, 0, rows.n, unit, nodes, nodes.q, nullptr, nullptr);
        int best = 0;
        for (int k = 1; k < kPoints; ++k)
            if (nodes.q[k] > nodes.q[best]) best = k;
        constexpr double kInfinity = std::numeric_limits<double>::infinity();
        return {nodes.s[best], best > 0 ? nodes.s[best - 1] : -kInfinity, best + 1 < kPoints ? nodes.s[best + 1] : kInfinity};
    }
};

// Local maximum inside (low, high), from s; fills the rows' derivatives there.
template <class R>
CLUSTERGLM_INLINE Mode find_mode(ClusterRows& rows, const LocationMap& map, double sigma, double s, double low, double high) {
    constexpr int kMaxSteps = 100, kPatience = 8;
    constexpr double kTolerance = 1e-9, kLongestStep = 4.0;
    Mode mode{};
    for (int step_number = 0;; ++step_number) {
        const Location at = map.at(s, sigma);
        const DerivativeSums S = derivatives<R>(rows, at.m);
        const double g_s = at.a1 + at.m1 * S.S1;
        const double g_ss = at.a2 + at.m2 * S.S1 + at.m1 * at.m1 * S.S2;
        const double g_sss = at.a3 + at.m3 * S.S1 + 3.0 * at.m1 * at.m2 * S.S2 + at.m1 * at.m1 * at.m1 * S.S3;
        const double g_ssss = at.a4 + at.m4 * S.S1 + (4.0 * at.m1 * at.m3 + 3.0 * at.m2 * at.m2) * S.S2 +
                              6.0 * at.m1 * at.m1 * at.m2 * S.S3 + at.m1 * at.m1 * at.m1 * at.m1 * S.S4;
        mode = {s, at, S, g_ss, g_sss, g_ssss};
        if (g_s > 0.0) low = s;
        else high = s;
        double step = g_s > 0.0 ? kLongestStep : -kLongestStep;
        if (g_ss < 0.0) {
            const double halley = g_ss - 0.5 * g_s * g_sss / g_ss;
            step = -g_s / (halley < 0.5 * g_ss ? halley : g_ss);
        }
        if (std::fabs(step) <= kTolerance * (1.0 + std::fabs(s)) || step_number == kMaxSteps || !std::isfinite(g_s)) return mode;
        const double reach = kLongestStep * (1.0 + std::fabs(s));
        step = step > reach ? reach : (step < -reach ? -reach : step);
        double next = s + step;
        // Against an exponential wall Newton and Halley creep: after a few steps, double them until the mode is between two
        // points, and then halve the bracket every other time.
        const bool bracketed = std::isfinite(low) && std::isfinite(high);
        if (step_number > kPatience && !bracketed) next = s + std::copysign(std::ldexp(1.0, step_number - kPatience), g_s);
        if (step_number > kPatience && bracketed && step_number % 2 == 0) next = 0.5 * (low + high);
        if (!(next > low && next < high)) next = 0.5 * (low + high);
        if (!std::isfinite(next)) next = s + (g_s > 0.0 ? reach : -reach);
        if (next == s) return mode;
        s = next;
    }
}

}  // namespace clusterglm
