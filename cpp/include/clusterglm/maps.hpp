// The map m(s, sigma) as the inner loops see it, at one sigma: any map, by its virtual functions, or the linear map of Gaussian
// intercepts, which nearly every fit uses. Of the latter most derivatives are 0 or 1 everywhere: they are types of their own, so
// that the formulas, which are written once, lose these terms when they are compiled.
#pragma once
#include "lanes.hpp"
#include "location.hpp"

namespace clusterglm {

struct Zero {
    template <class T>
    CLUSTERGLM_INLINE operator T() const {
        return T{};
    }
};
struct One {};

template <class T>
CLUSTERGLM_INLINE Zero operator*(Zero, T) { return {}; }
template <class T>
CLUSTERGLM_INLINE Zero operator*(T, Zero) { return {}; }
CLUSTERGLM_INLINE Zero operator*(Zero, Zero) { return {}; }
template <class T>
CLUSTERGLM_INLINE T operator+(T x, Zero) { return x; }
template <class T>
CLUSTERGLM_INLINE T operator+(Zero, T x) { return x; }
CLUSTERGLM_INLINE Zero operator+(Zero, Zero) { return {}; }
template <class T>
CLUSTERGLM_INLINE T operator*(T x, One) { return x; }
template <class T>
CLUSTERGLM_INLINE T operator*(One, T x) { return x; }
CLUSTERGLM_INLINE One operator*(One, One) { return {}; }
CLUSTERGLM_INLINE Zero operator*(One, Zero) { return {}; }
CLUSTERGLM_INLINE Zero operator*(Zero, One) { return {}; }

// What moments need to know of a pack of nodes; types may say that r1 is 1, and that m2 and v are 0.
template <class R1, class M2>
struct NodePlace {
    Pack m1;
    M2 m2;
    Pack r;
    R1 r1;
    M2 v;
    Pack a1, a2;
};

// Where nodes lie: arrays over nodes.
struct NodeArrays {
    double *s, *m, *m1, *m2, *r, *r1, *v, *a, *a1, *a2;
    double *valid_r, *valid_m1;  // 0 where a node has no weight
};

class AnyMap {
   public:
    static constexpr bool kLinear = false;
    template <class V>
    using At = LocationOf<V>;

    AnyMap(const LocationMap& map, double sigma) : map_(map), sigma_(sigma) {}

    bool log_concave() const { return map_.log_concave(); }
    double scan_point(double u) const { return map_.scan_point(u); }
    template <class V>
    CLUSTERGLM_INLINE At<V> at(V s) const {
        return locate(map_, s, sigma_);
    }

    // All nodes, given s; m of a pack of them then.
    CLUSTERGLM_INLINE void locate_nodes(const NodeArrays& of, int count) const {
        map_.nodes(of.s, count, sigma_, {of.m, of.m1, of.m2, of.r, of.r1, of.v, of.a, of.a1, of.a2});
    }
    CLUSTERGLM_INLINE Pack m(const NodeArrays& of, int k) const { return load(of.m + k); }
    CLUSTERGLM_INLINE Pack log_density(const NodeArrays& of, int k) const { return load(of.a + k); }

    // Where a node has no weight its derivatives may be too large to square, and count as 0.
    CLUSTERGLM_INLINE NodePlace<Pack, Pack> place(const NodeArrays& of, int k, PackMask counts) const {
        const auto valid = [&](const double* field) { return counts ? load(field + k) : Pack{}; };
        const NodePlace<Pack, Pack> at{valid(of.m1), valid(of.m2), valid(of.r), valid(of.r1), load(of.v + k), load(of.a1 + k), load(of.a2 + k)};
        store(of.valid_r + k, at.r), store(of.valid_m1 + k, at.m1);
        return at;
    }
    // r and m1 once more, after `place`.
    CLUSTERGLM_INLINE Pack r(const NodeArrays& of, int k) const { return load(of.valid_r + k); }
    CLUSTERGLM_INLINE Pack m1(const NodeArrays& of, int k) const { return load(of.valid_m1 + k); }

   private:
    const LocationMap& map_;
    double sigma_;
};

// m = sigma s, and s is standard normal.
class LinearMap {
   public:
    static constexpr bool kLinear = true;
    template <class V>
    struct At {
        V m, m1;
        Zero m2, m3, m4;
        V r;
        One r1;
        Zero r2, r3, v, v1, v2;
        V a1, a2;
        Zero a3, a4;
    };

    explicit LinearMap(double sigma) : sigma_(sigma) {}

    bool log_concave() const { return true; }
    double scan_point(double u) const { return u; }

    template <class V>
    CLUSTERGLM_INLINE At<V> at(V s) const {
        return {sigma_ * s, V{} + sigma_, {}, {}, {}, s, {}, {}, {}, {}, {}, {}, -s, V{} - 1.0, {}, {}};
    }

    CLUSTERGLM_INLINE void locate_nodes(const NodeArrays&, int) const {}
    CLUSTERGLM_INLINE Pack m(const NodeArrays& of, int k) const { return sigma_ * load(of.s + k); }
    CLUSTERGLM_INLINE Pack log_density(const NodeArrays& of, int k) const {
        const Pack s = load(of.s + k);
        return -0.5 * s * s - kLogRootTwoPi;
    }
    CLUSTERGLM_INLINE NodePlace<One, Zero> place(const NodeArrays& of, int k, PackMask) const {
        const Pack s = load(of.s + k);
        return {all(sigma_), {}, s, {}, {}, -s, all(-1.0)};
    }
    CLUSTERGLM_INLINE Pack r(const NodeArrays& of, int k) const { return load(of.s + k); }
    CLUSTERGLM_INLINE Pack m1(const NodeArrays&, int) const { return all(sigma_); }

   private:
    double sigma_;
};

}  // namespace clusterglm
