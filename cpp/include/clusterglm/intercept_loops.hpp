// The loops over rows that integrals over one intercept ask of a kernel (marginal.hpp), compiled with it.
#pragma once
#include <cstddef>
#include <limits>
#include <utility>

#include "marginal.hpp"

namespace clusterglm {

template <class R, int Order, class Map, class V>
void place_nodes_of(Integral<Map, V>& at, V start) {
    constexpr bool kScans = !Map::kLinear || kSeveralModes<R>;
    const V infinity = V{} + std::numeric_limits<double>::infinity(), least_curvature = V{} + 1e-12;
    Bracket<V> bracket{start, -infinity, infinity};
    if constexpr (kScans)
        if (at.scan) bracket = at.scan->template search<R>(at.rows, at.unit);
    V other = bracket.start;
    for (int search = kScans && at.scan && at.scan->hides ? 2 : 0;; --search) {
        at.mode = find_mode<R, Order>(at.rows, at.map, bracket);
        if (search == 0) break;
        if constexpr (kScans) {  // the two modes, and then the higher one again
            if (search == 1) {
                const auto lower = log_integrand<R>(at.rows, at.map, at.mode.s) < log_integrand<R>(at.rows, at.map, other);
                bracket = {lower ? other : at.mode.s, -infinity, infinity};
            } else {
                other = at.mode.s, bracket = at.scan->hidden;
            }
        }
    }
    at.omega = 1.0 / lanes::sqrt(-at.mode.g_ss < least_curvature ? least_curvature : -at.mode.g_ss);
    Nodes& nodes = at.nodes;
    const Pack s = spread(at.mode.s), step = spread(at.omega);
    for (int k = 0; k < nodes.size; k += kLanes) store(nodes.s + k, s + load(nodes.c + k) * step);
    nodes.locate(at.map);
}

template <class R, int Order, class Map, class V>
void add_rows_of(Integral<Map, V>& at, int first, int last) {
    Nodes& nodes = at.nodes;
    const std::size_t cells = Order > 0 && !kOneRow<R> ? static_cast<std::size_t>(last - first) * nodes.size : 0;
    const std::size_t own_cells = static_cast<std::size_t>(at.own) * nodes.size;
    if (at.G.size() < cells + own_cells) at.G.resize(cells + own_cells);
    if (at.H.size() < (1 + kOwnSections<R>) * cells) at.H.resize((1 + kOwnSections<R>) * cells);
    const auto begin = [&](int k) CLUSTERGLM_INLINE_LAMBDA {
        if (first == 0) return NodeSums{load(nodes.log_weight + k) + at.map.log_density(nodes, k)};
        return NodeSums{load(nodes.q + k) + lanes::log(load(nodes.factor + k)), load(nodes.S1 + k), load(nodes.S2 + k)};
    };
    all_nodes<R, Order>(at.rows, first, last, at.unit, nodes, at.G.data(), at.H.data(), begin, [&](int k, const NodeSums& sums) CLUSTERGLM_INLINE_LAMBDA {
        store(nodes.q + k, sums.log_p);
        if constexpr (!kOneRow<R>) store(nodes.factor + k, sums.factor);
        if constexpr (Order > 0) store(nodes.S1 + k, sums.S1);
        if constexpr (Order > 1) store(nodes.S2 + k, sums.S2);
    });
}

template <class R, class Map, class V>
void repeat_rows_of(Integral<Map, V>& at, int first, int last) {
    all_nodes<R, 2>(
        at.rows, first, last, at.unit, at.nodes, at.G.data(), at.H.data(), [](int) CLUSTERGLM_INLINE_LAMBDA { return NodeSums{}; },
        [](int, const NodeSums&) CLUSTERGLM_INLINE_LAMBDA {});
}

template <class R, class V>
void own_at_mode_of(const Rows<V>& rows, V m, double* at_mode, std::size_t cells) {
    constexpr int J = kOwnNumbers<R>, kPairs = own_pairs(J);
    const bool near = lanes::every(rows.reach() + lanes::magnitude(m) <= V{} + Rows<V>::kRange);
    const Pack M = spread(m), E = lanes::exp(M);
    for (int i = 0, end = rows.size(); i < end; i += kLanes) {
        OwnAtMode<Pack, J> d;
        if (near) {
            d = R::own_at_mode(Row<Pack>{load(&rows.eta[i]), load(&rows.e[i]), load(&rows.a[i]), load(&rows.b[i])}, M, E);
        } else {
            for (int l = 0; l < kLanes; ++l) {
                const OwnAtMode<double, J> one = R::own_at_mode_stable(rows.eta[i + l] + M[l], rows.a[i + l], rows.b[i + l]);
                for (int k = 0; k < J; ++k) d.Gg[k][l] = one.Gg[k], d.Hg[k][l] = one.Hg[k], d.Ig[k][l] = one.Ig[k];
                for (int k = 0; k < kPairs; ++k) d.Ggg[k][l] = one.Ggg[k], d.Hgg[k][l] = one.Hgg[k];
            }
        }
        double* to = at_mode + i;
        for (int k = 0; k < J; ++k) store(to + 3 * k * cells, d.Gg[k]), store(to + (3 * k + 1) * cells, d.Hg[k]), store(to + (3 * k + 2) * cells, d.Ig[k]);
        for (int k = 0; k < kPairs; ++k) store(to + (3 * J + 2 * k) * cells, d.Ggg[k]), store(to + (3 * J + 2 * k + 1) * cells, d.Hgg[k]);
    }
}

// By fours score and Hessian are computed, and a value as a score; of a single cluster value and Hessian. Clusters of kernels that collapse
// are never single.
template <class R, class Map, class V>
constexpr ClusterLoops<Map, V> cluster_loops_of() {
    ClusterLoops<Map, V> loops{};
    if constexpr (kWidth<V> > 1) {
        loops.place_nodes[0] = &place_nodes_of<R, 0, Map, V>, loops.place_nodes[1] = &place_nodes_of<R, 1, Map, V>;
        loops.place_nodes[2] = &place_nodes_of<R, 2, Map, V>;
        loops.add_rows[1] = &add_rows_of<R, 1, Map, V>, loops.add_rows[2] = &add_rows_of<R, 2, Map, V>;
        if constexpr (kHasOwn<R>) loops.own_at_mode = &own_at_mode_of<R, V>;
    } else if constexpr (R::kCollapses == 0) {
        loops.place_nodes[0] = &place_nodes_of<R, 0, Map, V>, loops.place_nodes[2] = &place_nodes_of<R, 2, Map, V>;
        loops.add_rows[0] = &add_rows_of<R, 0, Map, V>, loops.add_rows[2] = &add_rows_of<R, 2, Map, V>;
        loops.repeat_rows = &repeat_rows_of<R, Map, V>;
        if constexpr (kHasOwn<R>) loops.own_at_mode = &own_at_mode_of<R, V>;
    }
    return loops;
}

template <class R>
const InterceptLoops& intercept_loops_of() {
    static constexpr InterceptLoops loops{R::kCollapses,
                                          kHasOwn<R> ? kOwnNumbers<R> : 0,
                                          kSeveralModes<R>,
                                          cluster_loops_of<R, LinearMap, Pack>(),
                                          cluster_loops_of<R, AnyMap, Pack>(),
                                          cluster_loops_of<R, AnyMap, double>()};
    return loops;
}

}  // namespace clusterglm
