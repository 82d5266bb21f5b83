// The integral of one cluster, or of four: value, score and exact Hessian of the quadrature rule's own approximation. Formulas and
// names are those of docs/explanation/likelihood.md, "Derivatives of the integrand" to "Moving nodes".
//
// Everything is built in a small space first: psi = (eta_1..eta_n, sigma) for clusters of few rows, theta = (beta, sigma) for
// long ones. In either, the derivatives need only a few vectors (Vectors below), one full-rank sum over nodes and a diagonal.
//
// What loops over rows belongs to a kernel, and is a table of functions here (InterceptLoops; intercept_loops.hpp makes it). All else knows
// no response, and is compiled once for all of them.
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <vector>

#include "blocks.hpp"
#include "mode.hpp"

namespace clusterglm {

// Scalars of a cluster that no longer depend on rows.
template <class V>
struct NodeMoments {
    V value;              // log of the integral
    V ends;               // share of it at the outermost nodes
    V omega;              // 1/sqrt(-g_ss) at the mode; 0 for nodes that do not move
    V A, B, M0, M1, M2;   // sum pi g_s, sum pi c g_s, sum pi c^r (g_ss + g_s^2)
    V CU, CD, DD;         // coefficients of s_tt, of D_t and of D D'
    V mean_sigma, P0_sigma, P1_sigma, outer_sigma;  // entries of sigma: sum pi g_t, the P vectors, sum pi (g_t g_t' + g_tt)
};

// The vectors of psi or theta space, sigma last: arrays of doubles, or of packs.
struct Vectors {
    int size = 0;
    std::vector<double> memory;
    double *s_t, *g_sst, *g_ssst, *D, *mean, *P0, *P1, *x1, *x2, *score;

    // Padding holds zeros.
    void resize(int n) {
        if (n == size) return;
        const int width = padded(n);
        memory.assign(static_cast<std::size_t>(10) * width, 0.0);
        size = n;
        double** fields[] = {&s_t, &g_sst, &g_ssst, &D, &mean, &P0, &P1, &x1, &x2, &score};
        double* next = memory.data();
        for (double** field : fields) *field = next, next += width;
    }
};

// Integrands in proportion into pi, the list of packs that carry weight, and what derivatives up to the order need of the nodes.
// log_only: all of the integrand is in q, and no factor beside it.
template <bool Moves, int Order, class Map, class V>
CLUSTERGLM_INLINE NodeMoments<V> node_moments(Nodes& nodes, const Map& map, const Mode<Map, V>& mode, V omega, bool log_only) {
    NodeMoments<V> out{};
    Pack highest = load(nodes.q), sum{};
    for (int k = kLanes; k < nodes.size; k += kLanes) {
        const Pack q = load(nodes.q + k);
        highest = q > highest ? q : highest;
    }
    const V top = greatest<V>(highest);
    Pack least = all(1.0);
    for (int k = 0; k < nodes.size; k += kLanes) {
        const Pack d = load(nodes.q + k) - top;
        Pack share = d > all(-690.0) ? lanes::exp(d) : Pack{};
        if (!log_only) share *= load(nodes.factor + k);
        store(nodes.pi + k, share);
        sum += share;
        least = share < least ? share : least;
    }
    const V total = gather<V>(sum), inverse = 1.0 / total;
    const Pack scale = spread(inverse);
    nodes.list_weighty(least, scale);
    out.value = top + lanes::log(total);
    out.ends = (get<V>(nodes.pi, 0) + get<V>(nodes.pi, nodes.count - 1)) * inverse;
    if constexpr (Moves) out.omega = omega;
    if constexpr (Order == 0) return out;

    Pack A{}, B{}, M0{}, M1{}, M2{}, mean{}, P0{}, P1{}, outer{};
    nodes.each_weighty([&](int k) CLUSTERGLM_INLINE_LAMBDA {
        const Pack pi = load(nodes.pi + k) * scale, zero{}, c = load(nodes.c + k);
        const auto counts = pi > zero;  // where it does not, S1 and S2 may be too large to square
        const auto at = map.place(nodes, k, counts);
        const Pack S1 = counts ? load(nodes.S1 + k) : zero, rS1 = at.r * S1, g_s = at.a1 + at.m1 * S1, first = pi * g_s;
        store(nodes.pi + k, pi);
        mean += pi * rS1;
        if constexpr (Moves) A += first, B += first * c;
        if constexpr (Order < 2) return;
        const Pack S2 = counts ? load(nodes.S2 + k) : zero;
        store(nodes.rS1 + k, rS1);
        outer += pi * (rS1 * rS1 + at.r * at.r * S2 + at.v * S1);
        if constexpr (Moves) {
            const Pack g_ss = at.a2 + at.m2 * S1 + at.m1 * at.m1 * S2;
            const Pack second = pi * (g_ss + g_s * g_s), P = first * rS1 + pi * (at.m1 * at.r * S2 + at.r1 * S1);
            store(nodes.g_s + k, g_s);
            M0 += second, M1 += second * c, M2 += second * c * c;
            P0 += P, P1 += P * c;
        }
    });
    out.mean_sigma = gather<V>(mean);
    out.outer_sigma = gather<V>(outer);
    if constexpr (Moves) {
        const V omega2 = omega * omega, omega3 = omega2 * omega;
        out.A = gather<V>(A), out.B = gather<V>(B), out.M0 = gather<V>(M0), out.M1 = gather<V>(M1), out.M2 = gather<V>(M2);
        out.P0_sigma = gather<V>(P0), out.P1_sigma = gather<V>(P1);
        out.CD = 0.5 * (omega2 + out.B * omega3);
        out.CU = out.A + out.CD * mode.g_sss;
        out.DD = 0.5 * omega2 * omega2 + 0.75 * out.B * omega3 * omega2;
    }
    return out;
}

// sum pi G of a row: all that the score needs of its nodes.
template <class V>
CLUSTERGLM_INLINE V row_mean(const Nodes& nodes, const double* G) {
    Pack mean{};
    nodes.each_weighty([&](int k) CLUSTERGLM_INLINE_LAMBDA { mean += load(nodes.pi + k) * load(G + k); });
    return gather<V>(mean);
}

// What one row adds: sums over nodes of its G and H.
template <class V>
struct RowMoments {
    V mean, P0, P1, diagonal, sigma;  // sum pi G, its P entries, sum pi H, and sum pi r H (+ sum pi r S1 G with Cross)
};

template <bool Moves, bool Cross, class V, class Map>
CLUSTERGLM_INLINE RowMoments<V> row_moments(const Nodes& nodes, const Map& map, const double* G, const double* H, double* pi_G) {
    Pack mean{}, P0{}, P1{}, diagonal{}, sigma{};
    nodes.each_weighty([&](int k) CLUSTERGLM_INLINE_LAMBDA {
        const Pack pi = load(nodes.pi + k), w = pi * load(G + k), pi_H = pi * load(H + k);
        store(pi_G + k, w);
        mean += w;
        diagonal += pi_H;
        sigma += map.r(nodes, k) * pi_H;
        if constexpr (Cross) sigma += load(nodes.rS1 + k) * w;
        if constexpr (Moves) {
            const Pack P = load(nodes.g_s + k) * w + map.m1(nodes, k) * pi_H;
            P0 += P, P1 += load(nodes.c + k) * P;
        }
    });
    return {gather<V>(mean), gather<V>(P0), gather<V>(P1), gather<V>(diagonal), gather<V>(sigma)};
}

// Coefficients with which a row's H, I, K at the mode enter the vectors, the diagonal and the column of sigma.
template <class Map, class V>
struct ModeCoefficients {
    using At = typename Map::template At<V>;
    V s_t_H;
    decltype(At::m2) sst_H;
    V sst_I;
    decltype(At::m3) ssst_H;
    decltype(V{} * At::m2) ssst_I;
    V ssst_K;
    V diagonal_I, diagonal_K, sigma_H, sigma_I, sigma_K;
    V s_t, g_sst, g_ssst, sigma_sigma;  // entries of sigma itself

    CLUSTERGLM_INLINE ModeCoefficients(const Mode<Map, V>& mode, const NodeMoments<V>& nm) {
        const At& at = mode.at;
        const auto [S1, S2, S3, S4] = mode.sums;
        const auto &m1 = at.m1, &r = at.r;
        const auto& m2 = at.m2;
        const auto& r1 = at.r1;
        const auto& r2 = at.r2;
        const V m11 = m1 * m1, tau_inv = nm.omega * nm.omega, CU = nm.CU * tau_inv, CD = nm.CD;
        s_t_H = m1 * tau_inv;
        sst_H = m2, sst_I = m11;
        ssst_H = at.m3, ssst_I = 3.0 * m1 * m2, ssst_K = m11 * m1;
        diagonal_I = CU * m1 + CD * m2, diagonal_K = CD * m11;
        sigma_H = CU * r1 + CD * r2, sigma_I = CU * m1 * r + CD * (r * m2 + 2.0 * m1 * r1), sigma_K = CD * r * m11;
        s_t = (m1 * r * S2 + r1 * S1) * tau_inv;
        g_sst = r * (m2 * S2 + m11 * S3) + r2 * S1 + 2.0 * m1 * r1 * S2;
        g_ssst = r * (at.m3 * S2 + 3.0 * m1 * m2 * S3 + m11 * m1 * S4) + at.r3 * S1 + 3.0 * (m2 * r1 + m1 * r2) * S2 + 3.0 * m11 * r1 * S3;
        sigma_sigma = CU * (m1 * r * r * S3 + 2.0 * r1 * r * S2 + at.v1 * S1 + m1 * at.v * S2) +
                      CD * (r * r * (m2 * S3 + m11 * S4) + 2.0 * r2 * r * S2 + 4.0 * m1 * r1 * r * S3 + 2.0 * r1 * r1 * S2 + at.v2 * S1 +
                            (2.0 * m1 * at.v1 + m2 * at.v) * S2 + m11 * at.v * S3);
    }
};

// From s_t, g_sst, mean: the score.
template <class Map, class V>
CLUSTERGLM_INLINE void combine_score(Vectors& z, const Mode<Map, V>& mode, const NodeMoments<V>& nm) {
    const V omega2 = nm.omega * nm.omega, on_D = 0.5 * omega2 * (1.0 + nm.B * nm.omega);
    for (int i = 0; i < z.size; i += kLanes) {
        const Pack s_t = load(z.s_t + i), D = mode.g_sss * s_t + load(z.g_sst + i);
        store(z.score + i, nm.A * s_t + on_D * D + load(z.mean + i));
    }
}

// From s_t, g_sst, g_ssst, mean, P0, P1: the score, and the terms of low rank of the Hessian as
// sym(s_t, x1) + sym(D, x2) - (sum pi dq)(sum pi dq)'. Leaves sum pi dq in P0.
template <class Map, class V>
CLUSTERGLM_INLINE void combine(Vectors& z, const Mode<Map, V>& mode, const NodeMoments<V>& nm) {
    const V omega2 = nm.omega * nm.omega, half_omega3 = 0.5 * omega2 * nm.omega, CU = nm.CU * omega2;
    const V on_s_t = 0.5 * nm.M0 + 0.5 * (CU * mode.g_sss + nm.CD * mode.g_ssss);
    const V on_D = 0.5 * (nm.M2 * half_omega3 * half_omega3 + nm.DD);
    const V omega_t = nm.B * half_omega3, mixed = nm.M1 * half_omega3, half_D = 0.5 * omega2;
    for (int i = 0; i < z.size; i += kLanes) {
        const Pack s_t = load(z.s_t + i), g_sst = load(z.g_sst + i), D = mode.g_sss * s_t + g_sst;
        const Pack dq = nm.A * s_t + omega_t * D + load(z.mean + i);
        store(z.x1 + i, on_s_t * s_t + mixed * D + load(z.P0 + i) + CU * g_sst + nm.CD * load(z.g_ssst + i));
        store(z.x2 + i, on_D * D + half_omega3 * load(z.P1 + i));
        store(z.D + i, D);
        store(z.P0 + i, dq);
        store(z.score + i, dq + half_D * D);
    }
}

template <class Map, class V>
struct Integral;

// A kernel's loops over the rows of a cluster, or of four. By order of derivatives; null where no integral asks.
template <class Map, class V>
struct ClusterLoops {
    // Nodes that follow the cluster: around the mode, which is sought from `start`. Order: of derivatives that feel them move, or 0.
    void (*place_nodes[3])(Integral<Map, V>&, V start);
    // Rows first..last at all nodes, from row 0 on: added to the nodes' sums, and kept in G and H if derivatives of the order need them.
    void (*add_rows[3])(Integral<Map, V>&, int first, int last);
    // G and H of some rows again, leaving the nodes' sums alone.
    void (*repeat_rows)(Integral<Map, V>&, int first, int last);
    // Derivatives in the kernel's own numbers at an intercept of m: sections of `cells` doubles (OwnRows).
    void (*own_at_mode)(const Rows<V>&, V m, double* to, std::size_t cells);
};

struct InterceptLoops {
    int collapses, own_numbers;  // kCollapses, and how many numbers of its own the kernel has
    bool several_modes;
    ClusterLoops<LinearMap, Pack> four_linear;
    ClusterLoops<AnyMap, Pack> four_any;
    ClusterLoops<AnyMap, double> one;

    template <class Map, class V>
    const ClusterLoops<Map, V>& of() const {
        if constexpr (kWidth<V> == 1) return one;
        else if constexpr (Map::kLinear) return four_linear;
        else return four_any;
    }
};

// One cluster's integral (V double), or those of four clusters (V Pack): its rows, nodes, value and moments.
template <class Map, class V>
struct Integral {
    const ClusterLoops<Map, V>& loops;
    const Map map;
    const bool follows, moves;  // see Rule
    const bool one_row;         // a kernel's only row (kOneRow): its derivatives at nodes are the nodes' sums
    const bool unit;            // every row is a 0 or a 1
    Rows<V> rows;
    Nodes nodes;
    std::optional<Scan<V>> scan;
    Mode<Map, V> mode{};
    NodeMoments<V> moments{};
    V omega{};                 // of nodes that follow the cluster, whether derivatives see them move or not
    std::vector<double> G, H;  // a row's at every node; in G room for parameters of the response's own
    int own = 0;               // of which there are so many

    Integral(const InterceptLoops& kernel, const Map& map_, const Rule& rule, bool unit_)
        : loops(kernel.of<Map, V>()), map(map_), follows(rule.follows), moves(rule.moves), one_row(kernel.collapses != 0 && kernel.own_numbers == 0),
          unit(unit_ && kernel.collapses == 0 && kernel.own_numbers == 0), nodes(rule, kWidth<V>) {
        if (follows && (kernel.several_modes || !map.log_concave())) scan.emplace(map);
        if (!follows) {
            std::copy_n(nodes.c, nodes.size, nodes.s);
            nodes.locate(map);
        }
    }

    // G and H of rows at all nodes, row by row: of a cluster of one row they are the nodes' sums.
    CLUSTERGLM_INLINE const double* rows_G() const { return one_row ? nodes.S1 : G.data(); }
    CLUSTERGLM_INLINE const double* rows_H() const { return one_row ? nodes.S2 : H.data(); }

    // After all rows: value and moments.
    template <bool Moves, int Order>
    CLUSTERGLM_INLINE void finish() {
        moments = node_moments<Moves, Order>(nodes, map, mode, omega, one_row);
        if (follows) moments.value += lanes::log(omega);
    }

    // Results of these clusters: their modes, and what is wanted of their weighted values and their intercepts given the data.
    CLUSTERGLM_INLINE void write(const std::int64_t* clusters, int count, V value, double* modes, const PerCluster& out) const {
        for (int l = 0; l < count; ++l) {
            if (follows) modes[clusters[l]] = lane(mode.s, l);
            if (out.values) out.values[clusters[l]] = lane(value, l);
            if (out.ends) out.ends[clusters[l]] = lane(moments.ends, l);
            if (out.omegas) out.omegas[clusters[l]] = lane(omega, l);
        }
        if (!out.posterior) return;
        const auto sum_over_nodes = [&](const auto& term) {
            Pack sum{};
            for (int k = 0; k < nodes.size; k += kLanes) {
                const Pack pi = load(nodes.pi + k);
                sum += pi > Pack{} ? pi * term(load(nodes.m + k)) : Pack{};
            }
            return gather<V>(sum);
        };
        const V total = sum_over_nodes([](Pack) { return all(1.0); });
        const V mean = sum_over_nodes([](Pack m) { return m; }) / total;
        const V square = sum_over_nodes([&](Pack m) { return (m - spread(mean)) * (m - spread(mean)); });
        const V sd = lanes::sqrt(square / total);
        for (int l = 0; l < count; ++l) {
            double* to = out.posterior + 2 * clusters[l];
            to[0] = lane(mean, l), to[1] = lane(sd, l);
        }
    }
};

}  // namespace clusterglm
