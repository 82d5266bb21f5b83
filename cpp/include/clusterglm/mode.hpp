// The mode of a cluster's integrand g(s) = a(s) + sum log P, or of four: Halley steps inside a bracket that only shrinks
// (docs/explanation/likelihood.md, "Mode and curvature").
#pragma once
#include <cmath>
#include <limits>

#include "maps.hpp"
#include "nodes.hpp"
#include "rows.hpp"

namespace clusterglm {

template <class Map, class V>
struct Mode {
    V s;
    typename Map::template At<V> at;
    DerivativeSums<V> sums;
    V g_ss, g_sss, g_ssss;  // the last for Hessians only
};

template <class V>
struct Bracket {
    V start, low, high;
};

// log P of the rows of one cluster, of several side by side, by the slow formulas that hold anywhere.
template <class R>
inline double log_p_stable(const double* eta, const double* a, const double* b, int cells, int step, double m) {
    double sum = 0.0;
    for (int i = 0; i < cells; i += step) sum += R::stable(eta[i] + m, a[i], b[i]).value;
    return sum;
}

// g at one point.
template <class R, class Map, class V>
CLUSTERGLM_INLINE V log_integrand(const Rows<V>& rows, const Map& map, V s) {
    constexpr int kStep = kWidth<V>;
    const auto at = map.at(s);
    const auto log_p = [&](int l) { return log_p_stable<R>(&rows.eta[l], &rows.a[l], &rows.b[l], rows.n * kStep - l, kStep, lane(at.m, l)); };
    V value;
    if constexpr (Map::kLinear) value = -0.5 * s * s;
    else value = at.a;
    if constexpr (kStep == 1) value += log_p(0);
    else
        for (int l = 0; l < kStep; ++l) value[l] += log_p(l);
    return value;
}

// Values of g at fixed points over the whole line, to choose between modes where there may be several. A mode that the
// likelihood makes may be too narrow to show in them: it lies where the likelihood's slope changes sign, once at most.
template <class V>
struct Scan {
    static constexpr int kPoints = 40;
    Nodes nodes{kPoints, kWidth<V>};
    Bracket<V> hidden{};        // about such a mode ...
    bool hides = false;         // ... if there is one for some lane; in the others it is what `search` returns

    template <class Map>
    CLUSTERGLM_INLINE explicit Scan(const Map& map) {
        constexpr double kHalfWidth = 8.0;
        for (int i = 0; i < nodes.size; ++i) nodes.s[i] = map.scan_point(kHalfWidth * (2.0 * (i / kWidth<V>) / (kPoints - 1) - 1.0));
        nodes.locate(map);
        if constexpr (Map::kLinear)
            for (int k = 0; k < nodes.size; k += kLanes) {
                const auto at = map.place(nodes, k, Pack{} == Pack{});
                store(nodes.a + k, map.log_density(nodes, k)), store(nodes.a1 + k, at.a1), store(nodes.m1 + k, at.m1);
            }
    }

    template <class R>
    CLUSTERGLM_APART Bracket<V> search(const Rows<V>& rows, bool unit) {
        all_nodes<R, 0>(
            rows, 0, rows.n, unit, nodes, nullptr, nullptr, [&](int k) CLUSTERGLM_INLINE_LAMBDA { return NodeSums{load(nodes.a + k)}; },
            [&](int k, const NodeSums& sums) CLUSTERGLM_INLINE_LAMBDA {
                store(nodes.q + k, sums.log_p + lanes::log(sums.factor));
                store(nodes.S1 + k, sums.S1);
                store(nodes.g_s + k, load(nodes.a1 + k) + load(nodes.m1 + k) * sums.S1);
            });
        const V infinity = V{} + std::numeric_limits<double>::infinity();
        V best = get<V>(nodes.q, 0), best_at{};
        Bracket<V> found{get<V>(nodes.s, 0), -infinity, get<V>(nodes.s, 1)};
        for (int k = 1; k < kPoints; ++k) {
            const V q = get<V>(nodes.q, k), next = k + 1 < kPoints ? get<V>(nodes.s, k + 1) : infinity;
            const auto better = q > best;
            best = better ? q : best;
            best_at = better ? V{} + static_cast<double>(k) : best_at;
            found.start = better ? get<V>(nodes.s, k) : found.start;
            found.low = better ? get<V>(nodes.s, k - 1) : found.low;
            found.high = better ? next : found.high;
        }
        hidden = found, hides = false;
        for (int k = 0; k + 1 < kPoints; ++k) {
            const V zero{}, low = get<V>(nodes.s, k), high = get<V>(nodes.s, k + 1), apart = lanes::magnitude(best_at - (k + 0.5));
            const auto here = (get<V>(nodes.S1, k) > zero) & (get<V>(nodes.S1, k + 1) <= zero) & (get<V>(nodes.g_s, k) > zero) &
                              (get<V>(nodes.g_s, k + 1) < zero) & (apart > zero + 1.0);
            if (lanes::every(!here)) continue;
            hides = true;
            hidden.start = here ? 0.5 * (low + high) : hidden.start;
            hidden.low = here ? low : hidden.low;
            hidden.high = here ? high : hidden.high;
        }
        return found;
    }
};

// Local maximum inside the bracket, from its start; fills the rows' derivatives there. A lane that has arrived stays where it is.
template <class R, int Order, class Map, class V>
CLUSTERGLM_INLINE Mode<Map, V> find_mode(Rows<V>& rows, const Map& map, Bracket<V> in) {
    constexpr int kMaxSteps = 100, kPatience = 8;
    constexpr double kTolerance = 1e-9, kLongestStep = 4.0;
    const V zero{};
    auto arrived = zero != zero;
    V s = in.start, low = in.low, high = in.high;
    for (int step_number = 0;; ++step_number) {
        if constexpr (kWidth<V> == 1) checkpoint(rows.n);
        const auto at = map.at(s);
        const DerivativeSums<V> S = derivatives<R, Order>(rows, at.m);
        const V g_s = at.a1 + at.m1 * S.S1;
        const V g_ss = at.a2 + at.m2 * S.S1 + at.m1 * at.m1 * S.S2;
        const V g_sss = at.a3 + at.m3 * S.S1 + 3.0 * at.m1 * at.m2 * S.S2 + at.m1 * at.m1 * at.m1 * S.S3;
        const auto uphill = g_s > zero;
        low = uphill ? s : low;
        high = uphill ? high : s;
        const V halley = g_ss - 0.5 * g_s * g_sss / g_ss, newton = -g_s / (halley < 0.5 * g_ss ? halley : g_ss);
        arrived = arrived | ((g_ss < zero) & (lanes::magnitude(newton) <= kTolerance * (1.0 + lanes::magnitude(s)))) | !lanes::finite(g_s);
        if (lanes::every(arrived) || step_number == kMaxSteps) {
            const V g_ssss = at.a4 + at.m4 * S.S1 + (4.0 * at.m1 * at.m3 + 3.0 * at.m2 * at.m2) * S.S2 +
                             6.0 * at.m1 * at.m1 * at.m2 * S.S3 + at.m1 * at.m1 * at.m1 * at.m1 * S.S4;
            return {s, at, S, g_ss, g_sss, g_ssss};
        }
        V next = s + newton;
        // Mostly that is all: a short step towards the mode, between the ends.
        const auto plain = (g_ss < zero) & (lanes::magnitude(newton) <= zero + kLongestStep) & (next > low) & (next < high);
        if (step_number > kPatience || !lanes::every(plain | arrived)) {
            const V reach = kLongestStep * (1.0 + lanes::magnitude(s));
            V step = g_ss < zero ? newton : (uphill ? zero + kLongestStep : zero - kLongestStep);
            step = step > reach ? reach : (step < -reach ? -reach : step);
            next = s + step;
            // Against an exponential wall Newton and Halley creep: after a few steps, double them until the mode is between two
            // points, and then halve the bracket every other time.
            if (step_number > kPatience) {
                const auto bracketed = lanes::finite(low) & lanes::finite(high);
                const V stride = zero + std::ldexp(1.0, step_number - kPatience);
                const V middle = step_number % 2 == 0 ? 0.5 * (low + high) : next;
                next = bracketed ? middle : (uphill ? s + stride : s - stride);
            }
            next = (next > low) & (next < high) ? next : 0.5 * (low + high);
            next = lanes::finite(next) ? next : (uphill ? s + reach : s - reach);
            arrived = arrived | (next == s);
        }
        s = arrived ? s : next;
    }
}

}  // namespace clusterglm
