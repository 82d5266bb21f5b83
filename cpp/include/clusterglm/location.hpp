// Where a random intercept lies: m(s, sigma) with log-density a(s) on the scale s of integration, and derivatives
// (docs/explanation/likelihood.md, "The map of the intercept"). The engine sees only this interface, so a distribution is one small file.
#pragma once
#include <array>
#include <bit>
#include <cmath>

#include "lanes.hpp"

namespace clusterglm {

// m and derivatives in s; r = dm/dsigma and derivatives in s; v = d2m/dsigma2 likewise; a = log-density and derivatives.
template <class V>
struct LocationOf {
    V m, m1, m2, m3, m4;
    V r, r1, r2, r3;
    V v, v1, v2;
    V a, a1, a2, a3, a4;
};
using Location = LocationOf<double>;

// What a node needs of the map and its derivatives, at many nodes, as arrays.
struct NodeLocations {
    double *m, *m1, *m2, *r, *r1, *v, *a, *a1, *a2;
};

class LocationMap {
   public:
    virtual ~LocationMap() = default;
    virtual Location at(double s, double sigma) const = 0;
    virtual void at(const Pack& s, double sigma, LocationOf<Pack>& out) const = 0;
    virtual void nodes(const double* s, int count, double sigma, const NodeLocations& out) const = 0;
    virtual bool linear() const { return false; }  // m = sigma s with s standard normal (maps.hpp)
    virtual bool log_concave() const = 0;        // then a cluster's integrand has one mode for log-concave responses
    virtual double scan_point(double u) const = 0;  // maps an even grid in u to points worth a look for other modes
};

CLUSTERGLM_INLINE Location locate(const LocationMap& map, double s, double sigma) { return map.at(s, sigma); }
CLUSTERGLM_INLINE LocationOf<Pack> locate(const LocationMap& map, Pack s, double sigma) {
    LocationOf<Pack> at;
    map.at(s, sigma, at);
    return at;
}

// log f and its first four derivatives.
struct LogDensity {
    double value, d1, d2, d3, d4;
};

inline constexpr double kLogRootTwoPi = 0.91893853320467274178;

// Scale families, m = sigma T(s), shared part: fills a Location from T and its derivatives.
inline Location scaled(double sigma, const double (&T)[5], const LogDensity& a) {
    return {sigma * T[0], sigma * T[1], sigma * T[2], sigma * T[3], sigma * T[4],
            T[0], T[1], T[2], T[3], 0.0, 0.0, 0.0, a.value, a.d1, a.d2, a.d3, a.d4};
}

template <class Map>
class LocationMapOf : public LocationMap {
   public:
    void nodes(const double* s, int count, double sigma, const NodeLocations& out) const override {
        for (int k = 0; k < count; ++k) {
            const Location at = static_cast<const Map&>(*this).locate(s[k], sigma);
            out.m[k] = at.m, out.m1[k] = at.m1, out.m2[k] = at.m2;
            out.r[k] = at.r, out.r1[k] = at.r1, out.v[k] = at.v;
            out.a[k] = at.a, out.a1[k] = at.a1, out.a2[k] = at.a2;
        }
    }
    Location at(double s, double sigma) const override { return static_cast<const Map&>(*this).locate(s, sigma); }
    void at(const Pack& s, double sigma, LocationOf<Pack>& out) const override {
        constexpr int kFields = sizeof(Location) / sizeof(double);
        for (int l = 0; l < kLanes; ++l) {
            const auto fields = std::bit_cast<std::array<double, kFields>>(static_cast<const Map&>(*this).locate(s[l], sigma));
            for (int i = 0; i < kFields; ++i) reinterpret_cast<Pack*>(&out)[i][l] = fields[i];
        }
    }
};

// s is standard normal and T = F^-1 o Phi. With ell = log f, T1 = phi(s)/f(T) and the rest follows by differentiating T1.
template <class D>
class NormalScale final : public LocationMapOf<NormalScale<D>> {
   public:
    explicit NormalScale(D d) : d_(std::move(d)) {}

    Location locate(double s, double sigma) const {
        double T[5];
        d_.quantile_of_normal(s, T[0], T[1]);
        const LogDensity ell = d_.log_density(T[0]);
        const double c = -s - ell.d1 * T[1];
        T[2] = T[1] * c;
        const double c1 = -1.0 - ell.d2 * T[1] * T[1] - ell.d1 * T[2];
        T[3] = T[2] * c + T[1] * c1;
        const double c2 = -(ell.d3 * T[1] * T[1] * T[1] + 3.0 * ell.d2 * T[1] * T[2] + ell.d1 * T[3]);
        T[4] = T[3] * c + 2.0 * T[2] * c1 + T[1] * c2;
        return scaled(sigma, T, {-0.5 * s * s - kLogRootTwoPi, -s, -1.0, 0.0, 0.0});
    }
    bool log_concave() const override { return false; }
    double scan_point(double u) const override { return u; }

   private:
    D d_;
};

// The density scale: s has the distribution's own density and T(s) = s.
template <class D>
class DensityScale final : public LocationMapOf<DensityScale<D>> {
   public:
    explicit DensityScale(D d) : d_(std::move(d)) {}

    Location locate(double s, double sigma) const { return scaled(sigma, {s, 1.0, 0.0, 0.0, 0.0}, d_.log_density(s)); }
    bool log_concave() const override { return D::kLogConcave; }
    double scan_point(double u) const override { return std::sinh(u); }

   private:
    D d_;
};

}  // namespace clusterglm
