// Binomial response, probit link: kernel a log Phi(lambda) + b log Phi(-lambda).
// Both tails come from one scaled complementary error function; r = phi/Phi has r' = -r(lambda + r).
#pragma once
#include <cmath>

#include "../lanes.hpp"
#include "row.hpp"

namespace clusterglm {

struct BinomialProbit {
    static constexpr bool kLinear = false;
    static constexpr int kCollapses = 0;

    static double log_factor_bound(double low, double high) {
        const double z = -low > high ? -low : high;
        return 3.0 + (z > 1.0 ? std::log(z) : 0.0);
    }

    template <bool Unit, class V>
    static CLUSTERGLM_INLINE NodeTerms<V> node(const Row<V>& row, V m, V) {
        const V lambda = row.eta + m;
        const Sides<V> t = sides(lambda);
        const V improbable = lambda < V{} ? row.a : row.b;
        V additive = -0.5 * improbable * lambda * lambda, factor = row.a > row.b ? t.up : t.down;
        if constexpr (!Unit) {
            additive += row.a * lanes::log(t.up) + row.b * lanes::log(t.down);
            factor = V{} + 1.0;
        }
        return {additive, factor, row.a * t.r_up - row.b * t.r_down,
                -row.a * t.r_up * (lambda + t.r_up) - row.b * t.r_down * (t.r_down - lambda)};
    }

    template <class V>
    static CLUSTERGLM_INLINE RowDerivatives<V> derivatives(const Row<V>& row, V m, V) {
        const V lambda = row.eta + m;
        return from_ratios(lambda, sides(lambda), row.a, row.b);
    }

    static StableTerms stable(double lambda, double a, double b) {
        const double z = std::fabs(lambda) < 1e150 ? lambda : std::copysign(1e150, lambda);
        const Sides<double> t = sides(z);
        const RowDerivatives<double> d = from_ratios(z, t, a, b);
        const double up = std::log(t.up) - (z < 0 ? 0.5 * z * z : 0.0), down = std::log(t.down) - (z < 0 ? 0.0 : 0.5 * z * z);
        return {(a > 0 ? a * up : 0.0) + (b > 0 ? b * down : 0.0), d.G, d.H, d.I, d.K};
    }

    // exp(x^2) erfc(x), x >= 0, to 5e-16: (1 + 2x) times it is a polynomial in (x - k)/(x + k), k = 3.75
    // (form of Shepherd and Laframboise, Math. Comp. 36, 1981; coefficients: our own Chebyshev fit in 60 digits).
    template <class V>
    static CLUSTERGLM_INLINE V scaled_erfc(V x) {
        const V t = (x - 3.75) / (x + 3.75);
        V p = V{} + 4.43495907000962802e-10;
        p = p * t + 3.11031071983916516e-10;
        p = p * t - 5.28428697963142026e-09;
        p = p * t - 3.74356803363458306e-09;
        p = p * t + 3.89654525489859656e-08;
        p = p * t + 2.32619132766965658e-08;
        p = p * t - 2.59106968779665778e-07;
        p = p * t - 5.72159725599098732e-08;
        p = p * t + 1.75205797016631802e-06;
        p = p * t - 9.73561901518266272e-07;
        p = p * t - 1.14444124391717224e-05;
        p = p * t + 2.23842403142244369e-05;
        p = p * t + 5.16492113907028545e-05;
        p = p * t - 2.90154080979527107e-04;
        p = p * t + 2.93713634285008114e-04;
        p = p * t + 1.75562585300172570e-03;
        p = p * t - 9.74657955250424375e-03;
        p = p * t + 2.83622774189406651e-02;
        p = p * t - 5.86933985902123659e-02;
        p = p * t + 9.23043211603787606e-02;
        p = p * t - 1.08803930141717853e-01;
        p = p * t + 8.22767384901451626e-02;
        p = p * t + 3.58541548546377487e-03;
        p = p * t - 1.40240598585546966e-01;
        p = p * t + 1.23751263083782748e+00;
        return p / (1.0 + 2.0 * x);
    }

   private:
    // Phi(lambda) and Phi(-lambda), whichever is the smaller times exp(lambda^2/2), and phi over each.
    template <class V>
    struct Sides {
        V up, down, r_up, r_down;
    };

    template <class V>
    static CLUSTERGLM_INLINE Sides<V> sides(V lambda) {
        constexpr double kRootHalf = 0.70710678118654752440, kOneOverRootTwoPi = 0.39894228040143267794;
        const V zero{}, z = lambda < zero ? -lambda : lambda, far = 0.5 * scaled_erfc(z * kRootHalf);
        const V density = lanes::exp(-0.5 * z * z), near = 1.0 - density * far;  // exp clamps where the density no longer counts
        const V r_near = kOneOverRootTwoPi * density / near, r_far = kOneOverRootTwoPi / far;
        const auto negative = lambda < zero;
        return {negative ? far : near, negative ? near : far, negative ? r_far : r_near, negative ? r_near : r_far};
    }

    // Derivatives of log Phi(z): r, -r(z + r), and so on by the product rule.
    template <class V>
    static CLUSTERGLM_INLINE RowDerivatives<V> from_ratios(V z, const Sides<V>& t, V a, V b) {
        const V up = t.r_up, down = t.r_down, du = z + up, dd = down - z;
        const V u1 = -up * du, u2 = -(u1 * du + up * (1.0 + u1)), u3 = -(u2 * du + 2.0 * u1 * (1.0 + u1) + up * u2);
        const V d1 = -down * dd, d2 = -(d1 * dd + down * (1.0 + d1)), d3 = -(d2 * dd + 2.0 * d1 * (1.0 + d1) + down * d2);
        return {a * up - b * down, a * u1 + b * d1, a * u2 - b * d2, a * u3 + b * d3};
    }
};

}  // namespace clusterglm
