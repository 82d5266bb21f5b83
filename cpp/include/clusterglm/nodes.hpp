// The nodes of a quadrature rule in one cluster or in four: log-integrand, its derivatives and the rows' terms at every node.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "lanes.hpp"
#include "location.hpp"
#include "rows.hpp"

namespace clusterglm {

// Nodes at c; or, if they follow the cluster, at mode + c * omega, and the sum is then multiplied by omega. Derivatives see that
// such nodes move, unless the rule is so fine that its sum does not depend on where they lie.
struct Rule {
    bool follows = true, moves = true;
    int count = 0;
    std::vector<double> c, log_weight;

    Rule(bool follows_, bool moves_, const double* positions, const double* log_weights, int nodes)
        : follows(follows_), moves(moves_), count(nodes), c(positions, positions + nodes), log_weight(log_weights, log_weights + nodes) {}
};

// Arrays over nodes, all of length `size`: nodes of one cluster, padded with nodes of no weight, or every node four times, once
// for each of four clusters.
struct Nodes {
    int count, size;
    std::vector<double> memory;
    double *c, *log_weight;                                        // of the rule
    double *s, *m, *E, *m1, *m2, *r, *r1, *v, *a, *a1, *a2;        // where they lie
    double *q, *pi, *S1, *S2, *g_s, *rS1, *pi_m1, *pi_r;  // what they hold
    std::vector<int> active;  // first nodes of the packs that carry weight, of which there are
    int actives = 0;

    Nodes(int nodes, int copies) : count(nodes), size(padded(nodes * copies)), memory(static_cast<std::size_t>(21) * size), active(size / kLanes) {
        double** fields[] = {&c, &log_weight, &s,  &m, &E,  &m1, &m2,  &r,   &r1,    &v,     &a,      &a1,
                             &a2, &q,         &pi, &S1, &S2, &g_s, &rS1, &pi_m1, &pi_r};
        double* next = memory.data();
        for (double** field : fields) *field = next, next += size;
    }
    Nodes(const Rule& rule, int copies) : Nodes(rule.count, copies) {
        for (int k = 0; k < size; ++k) {
            const bool real = k / copies < rule.count;
            c[k] = real ? rule.c[k / copies] : 0.0;
            log_weight[k] = real ? rule.log_weight[k / copies] : -1e300;
        }
    }
    Nodes(const Nodes&) = delete;
    Nodes& operator=(const Nodes&) = delete;

    // Calls body(k) for the packs that carry weight: mostly all of them, which needs no list.
    template <class Body>
    CLUSTERGLM_INLINE void each_weighty(const Body& body) const {
        if (actives * kLanes == size)
            for (int k = 0; k < size; k += kLanes) body(k);
        else
            for (int i = 0; i < actives; ++i) body(active[i]);
    }

    CLUSTERGLM_INLINE void locate(const LocationMap& map, double sigma) {
        map.nodes(s, size, sigma, {m, m1, m2, r, r1, v, a, a1, a2});
        for (int k = 0; k < size; k += kLanes) store(E + k, lanes::exp(load(m + k)));
    }
};

// One pack of nodes: sums over rows of log P, without the part linear in lambda; with Keep also of G and H, and each row's own.
// room: so many factors may be multiplied before their product could leave the range of doubles.
template <class R, bool Unit, bool Keep, class V>
CLUSTERGLM_INLINE void node_pack(const Rows<V>& rows, int first, int last, int room, const double* m, const double* E, double* log_p, double* S1,
                                 double* S2, double* G, double* H, int stride) {
    const Pack at = load(m), exp_at = load(E), one = all(1.0);
    Pack sum = load(log_p), factor = one, g = load(S1), h = load(S2);
    int left = room;
    for (int j = first; j < last; ++j) {
        const Row<Pack> row = rows.row(j);
        NodeTerms<Pack> t = R::template node<Unit>(row, at, exp_at);
        if (Unit && kWidth<V> > 1 && j >= rows.common) {  // an empty row is neither a 0 nor a 1
            const auto there = row.a + row.b > Pack{};
            t.factor = there ? t.factor : one, t.H = there ? t.H : Pack{};
        }
        sum += t.additive;
        if constexpr (Keep) {
            g += t.G;
            h += t.H;
            store(G + static_cast<std::size_t>(j - first) * stride, t.G);
            store(H + static_cast<std::size_t>(j - first) * stride, t.H);
        }
        if constexpr (Unit) {
            factor *= t.factor;
            if (--left <= 0) sum += R::kUnitPower * lanes::log(factor), factor = one, left = room;
        }
    }
    if constexpr (Unit) sum += R::kUnitPower * lanes::log(factor);
    store(log_p, sum);
    if constexpr (Keep) store(S1, g), store(S2, h);
}

// The same by the responses' slow formulas, for linear predictors out of the fast range.
template <class R, bool Keep, class V>
inline void node_pack_stable(const Rows<V>& rows, int first, int last, const double* m, double* log_p, double* S1, double* S2, double* G,
                             double* H, int stride) {
    for (int j = first; j < last; ++j)
        for (int l = 0; l < kLanes; ++l) {
            const int cell = j * kWidth<V> + l % kWidth<V>;
            const StableTerms t = R::stable(rows.eta[cell] + m[l], rows.a[cell], rows.b[cell]);
            log_p[l] += t.value;
            S1[l] += t.G;
            S2[l] += t.H;
            if constexpr (Keep) {
                G[static_cast<std::size_t>(j - first) * stride + l] = t.G;
                H[static_cast<std::size_t>(j - first) * stride + l] = t.H;
            }
        }
}

// Least and largest of the lanes.
struct Range {
    double low, high;
    CLUSTERGLM_INLINE Range(Pack below, Pack above)
        : low(std::min(std::min(below[0], below[1]), std::min(below[2], below[3]))),
          high(std::max(std::max(above[0], above[1]), std::max(above[2], above[3]))) {}
};

// Rows first..last at all nodes, added to q, S1 and S2 of the nodes.
template <class R, bool Keep, class V>
CLUSTERGLM_INLINE void all_nodes(const Rows<V>& rows, int first, int last, bool unit, const Nodes& nodes, double* log_p, double* G, double* H) {
    V sum_a = rows.sum_a, sum_a_eta = rows.sum_a_eta;
    if (last - first != rows.n) {
        sum_a = sum_a_eta = V{};
        for (int j = first; j < last; ++j) {
            const V a = get<V>(rows.a.data(), j);
            sum_a += a, sum_a_eta += a * get<V>(rows.eta.data(), j);
        }
    }
    const Pack eta_low = spread(rows.eta_low), eta_high = spread(rows.eta_high), reach = spread(rows.reach());
    const auto room_of = [&](Pack lowest, Pack highest) {
        const Range lambda(lowest + eta_low, highest + eta_high);
        const double bound = R::log_factor_bound(lambda.low, lambda.high);
        return bound > 6e-4 ? static_cast<int>(600.0 / bound) : 1000000;
    };
    const auto in_range = [&](Pack lowest, Pack highest) {
        const Pack range = all(Rows<V>::kRange);
        return lanes::every((lanes::magnitude(lowest) + reach < range) & (lanes::magnitude(highest) + reach < range));
    };
    Pack lowest = load(nodes.m), highest = lowest;
    for (int k = kLanes; k < nodes.size; k += kLanes) {
        const Pack m = load(nodes.m + k);
        lowest = m < lowest ? m : lowest;
        highest = m > highest ? m : highest;
    }
    // Mostly one answer does for all nodes.
    const bool near = in_range(lowest, highest);
    const int least_room = room_of(lowest, highest);
    for (int k = 0; k < nodes.size; k += kLanes) {
        const double* m = nodes.m + k;
        double *g = Keep ? G + k : nullptr, *h = Keep ? H + k : nullptr, *S1 = nodes.S1 + k, *S2 = nodes.S2 + k;
        const Pack at = load(m);
        if (!near && !in_range(at, at)) {
            node_pack_stable<R, Keep>(rows, first, last, m, log_p + k, S1, S2, g, h, nodes.size);
            continue;
        }
        const int room = least_room >= last - first ? least_room : room_of(at, at);
        if (unit) node_pack<R, true, Keep>(rows, first, last, room, m, nodes.E + k, log_p + k, S1, S2, g, h, nodes.size);
        else node_pack<R, false, Keep>(rows, first, last, room, m, nodes.E + k, log_p + k, S1, S2, g, h, nodes.size);
        if constexpr (R::kLinear) store(log_p + k, load(log_p + k) + (spread(sum_a_eta) + spread(sum_a) * at));
    }
}

}  // namespace clusterglm
