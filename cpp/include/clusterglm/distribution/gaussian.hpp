// Standard normal random intercepts: both scales are one, and the map is a product.
#pragma once
#include "../location.hpp"

namespace clusterglm {

struct Gaussian {
    static constexpr bool kLogConcave = true;

    LogDensity log_density(double t) const { return {-0.5 * t * t - kLogRootTwoPi, -t, -1.0, 0.0, 0.0}; }
};

class GaussianMap final : public LocationMap {
   public:
    Location at(double s, double sigma) const override { return scaled(sigma, {s, 1.0, 0.0, 0.0, 0.0}, Gaussian{}.log_density(s)); }

    void at(const Pack& s, double sigma, LocationOf<Pack>& out) const override {
        const Pack zero{}, one = all(1.0);
        out = {sigma * s, all(sigma), zero, zero, zero, s, one, zero, zero, zero, zero, zero, -0.5 * s * s - kLogRootTwoPi, -s, -one, zero, zero};
    }

    void nodes(const double* s, int count, double sigma, const NodeLocations& out) const override {
        for (int k = 0; k < count; ++k) out.m[k] = sigma * s[k], out.r[k] = s[k], out.a1[k] = -s[k];
        for (int k = 0; k < count; ++k) out.a[k] = -0.5 * s[k] * s[k] - kLogRootTwoPi;
        for (int k = 0; k < count; ++k) out.m1[k] = sigma, out.m2[k] = 0.0, out.r1[k] = 1.0, out.v[k] = 0.0, out.a2[k] = -1.0;
    }
    bool linear() const override { return true; }
    bool log_concave() const override { return true; }
    double scan_point(double u) const override { return u; }
};

}  // namespace clusterglm
