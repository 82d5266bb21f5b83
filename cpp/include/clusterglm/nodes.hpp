// The nodes of a quadrature rule in one cluster or in four: log-integrand, its derivatives and the rows' terms at every node.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "lanes.hpp"
#include "maps.hpp"
#include "parallel.hpp"
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
struct Nodes : NodeArrays {
    int count, size;
    std::vector<double> memory;
    double *c, *log_weight;                             // of the rule
    double *E, *q, *factor, *pi, *S1, *S2, *g_s, *rS1;  // what they hold: the integrand is factor e^q
    Pack lowest, highest;                               // m, of all nodes
    std::vector<int> active;                            // first nodes of the packs that carry weight, of which there are
    int actives = 0;

    Nodes(int nodes, int copies) : count(nodes), size(padded(nodes * copies)), memory(static_cast<std::size_t>(22) * size), active(size / kLanes) {
        double** fields[] = {&c, &log_weight, &E,  &q, &factor, &pi, &S1, &S2, &g_s, &rS1,     &s,
                             &m, &m1,         &m2, &r, &r1,     &v,  &a,  &a1, &a2,  &valid_r, &valid_m1};
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

    // After pi: the packs that carry weight, given the least of pi and what makes its sum 1. Where every single node does, they are all.
    CLUSTERGLM_INLINE void list_weighty(Pack least, Pack scale) {
        constexpr double kNegligible = 1e-22;
        actives = size / kLanes;
        if (lanes::every(least * scale > all(kNegligible))) return;
        actives = 0;
        for (int k = 0; k < size; k += kLanes) {
            active[actives] = k;
            actives += reduce(load(pi + k) * scale) > kNegligible;
        }
    }

    // Calls body(k) for the packs that carry weight: mostly all of them, which needs no list.
    template <class Body>
    CLUSTERGLM_INLINE void each_weighty(const Body& body) const {
        if (actives * kLanes == size)
            for (int k = 0; k < size; k += kLanes) body(k);
        else
            for (int i = 0; i < actives; ++i) body(active[i]);
    }

    template <class Map>
    CLUSTERGLM_INLINE void locate(const Map& map) {
        map.locate_nodes(*this, size);
        lowest = highest = map.m(*this, 0);
        for (int k = 0; k < size; k += kLanes) {
            const Pack at = map.m(*this, k);
            store(m + k, at), store(E + k, lanes::exp(at));
            lowest = at < lowest ? at : lowest;
            highest = at > highest ? at : highest;
        }
    }
};

// What a pack of nodes has of log P and its first two derivatives, summed over rows: log P is log_p + log(factor).
struct NodeSums {
    Pack log_p{}, S1{}, S2{}, factor = all(1.0);
};

// Log-likelihoods of so many rows are added up by themselves: the same small term, added a million times to a large sum, is rounded
// the same way each time.
constexpr int kRun = 1024;

// The sum of such sums. That of a cluster's first rows goes on from where it begins.
struct AddedApart {
    Pack sum{};
    CLUSTERGLM_INLINE AddedApart(Pack& so_far, int first) {
        if (first > 0) sum = so_far, so_far = Pack{};
    }
    CLUSTERGLM_INLINE void next(Pack& part) { sum += part, part = Pack{}; }
};

// Derivatives in the kernel's own numbers lie behind those in lambda, a section of all rows and nodes each: g, Gg and gg.
template <class R>
inline constexpr int kOwnSections = kHasOwn<R> ? 2 * kOwnNumbers<R> + own_pairs(kOwnNumbers<R>) : 0;
template <int J>
CLUSTERGLM_INLINE void keep_own(const OwnTerms<Pack, J>& own, double* H, int section) {
    for (int i = 0; i < J; ++i) store(H + (1 + i) * section, own.g[i]), store(H + (1 + J + i) * section, own.Gg[i]);
    for (int i = 0; i < own_pairs(J); ++i) store(H + (1 + 2 * J + i) * section, own.gg[i]);
}

// How the rows of a cluster are taken at a node.
enum class Take {
    kWeighted,  // a logarithm each
    kUnit,      // 0/1 data: one logarithm of a product, a part at a time, and rows that some lanes lack
    kPlain,     // the same where the product stays in range and all lanes have all rows
};

// Rows first..last at one pack of nodes, added to `sums`, whose factor is 1: log P but for its part linear in lambda, and as the order
// demands its derivatives, which are kept for each row unless there is only one. room: so many factors may be multiplied before their
// product could leave the range of doubles.
template <class R, Take T, int Order, class V>
CLUSTERGLM_INLINE NodeSums node_pack(NodeSums sums, const Rows<V>& rows, int first, int last, int room, const double* m, const double* E, double* G,
                                     double* H, int stride) {
    constexpr bool kUnit = T != Take::kWeighted;
    const Pack at = load(m), exp_at = load(E), one = all(1.0);
    int left = room, at_row = 0;
    AddedApart total(sums.log_p, first);
    const int end = R::kCollapses != 0 ? first + 1 : last;
    for (int run = first; run < end; run += kRun) {
        const int stop = std::min(run + kRun, end);
        for (int j = run; j < stop; ++j, at_row += stride) {
            const Row<Pack> row = rows.row(j);
            auto t = R::template node<kUnit>(row, at, exp_at);
            if (T == Take::kUnit && kWidth<V> > 1 && j >= rows.common) {  // an empty row is neither a 0 nor a 1
                const auto there = row.a + row.b > Pack{};
                t.factor = there ? t.factor : one, t.H = there ? t.H : Pack{};
            }
            sums.log_p += t.additive, sums.S1 += t.G, sums.S2 += t.H;
            if constexpr (!kOneRow<R> && Order > 0) store(G + at_row, t.G);
            if constexpr (!kOneRow<R> && Order > 1) store(H + at_row, t.H);
            if constexpr (kHasOwn<R> && Order > 0) keep_own(t.own, H + at_row, (last - first) * stride);
            if constexpr (kUnit) sums.factor *= t.factor;
            if constexpr (T == Take::kUnit)
                if (--left <= 0) sums.log_p += lanes::log(sums.factor), sums.factor = one, left = room;
        }
        total.next(sums.log_p);
    }
    sums.log_p = total.sum;
    return sums;
}

// Rows first..last at one pack of nodes, all of log P, by the responses' slow formulas, for linear predictors out of the fast range.
template <class R, int Order, class V>
inline void node_pack_stable(NodeSums& sums, const Rows<V>& rows, int first, int last, const double* m, double* G, double* H, int stride) {
    AddedApart total(sums.log_p, first);
    for (int j = first; j < last; ++j, G += stride, H += stride) {
        for (int l = 0; l < kLanes; ++l) {
            const int cell = j * kWidth<V> + l % kWidth<V>;
            const auto t = R::stable(rows.eta[cell] + m[l], rows.a[cell], rows.b[cell]);
            sums.log_p[l] += t.value, sums.S1[l] += t.G, sums.S2[l] += t.H;
            if constexpr (!kOneRow<R> && Order > 0) G[l] = t.G;
            if constexpr (!kOneRow<R> && Order > 1) H[l] = t.H;
            if constexpr (kHasOwn<R> && Order > 0) {
                constexpr int J = kOwnNumbers<R>;
                const int section = (last - first) * stride;
                for (int i = 0; i < J; ++i) H[(1 + i) * section + l] = t.own.g[i], H[(1 + J + i) * section + l] = t.own.Gg[i];
                for (int i = 0; i < own_pairs(J); ++i) H[(1 + 2 * J + i) * section + l] = t.own.gg[i];
            }
        }
        if ((j - first + 1) % kRun == 0) total.next(sums.log_p);
    }
    total.next(sums.log_p);
    sums.log_p = total.sum;
}

// Least and largest of the lanes.
struct Range {
    double low, high;
    CLUSTERGLM_INLINE Range(Pack below, Pack above)
        : low(std::min(std::min(below[0], below[1]), std::min(below[2], below[3]))),
          high(std::max(std::max(above[0], above[1]), std::max(above[2], above[3]))) {}
};

// Rows first..last at all nodes: begin(k) gives the sums to which those of a pack of nodes are added, end(k, sums) takes them.
template <class R, int Order, class V, class Begin, class End>
CLUSTERGLM_INLINE void all_nodes(const Rows<V>& rows, int first, int last, bool unit, const Nodes& nodes, double* G, double* H, const Begin& begin,
                                 const End& end) {
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
    const auto pause = [&] {
        if constexpr (kWidth<V> == 1) checkpoint(kLanes * static_cast<std::int64_t>(last - first));
    };
    const auto take = [&]<Take T>(int k, int room) CLUSTERGLM_INLINE_LAMBDA {
        NodeSums sums = begin(k);
        if constexpr (R::kLinear) sums.log_p += spread(sum_a_eta) + spread(sum_a) * load(nodes.m + k);
        end(k, node_pack<R, T, Order>(sums, rows, first, last, room, nodes.m + k, nodes.E + k, G + k, H + k, nodes.size));
    };
    const auto take_all = [&]<Take T>() CLUSTERGLM_INLINE_LAMBDA {
        for (int k = 0; k < nodes.size; k += kLanes) {
            pause();
            take.template operator()<T>(k, 0);
        }
    };
    // Mostly one answer does for all nodes.
    if (in_range(nodes.lowest, nodes.highest)) {
        if (R::kCollapses != 0 || !unit) return take_all.template operator()<Take::kWeighted>();
        if (rows.common >= last && room_of(nodes.lowest, nodes.highest) >= last - first) return take_all.template operator()<Take::kPlain>();
    }
    for (int k = 0; k < nodes.size; k += kLanes) {
        pause();
        const Pack at = load(nodes.m + k);
        if (!in_range(at, at)) {
            NodeSums sums = begin(k);
            node_pack_stable<R, Order>(sums, rows, first, last, nodes.m + k, G + k, H + k, nodes.size);
            end(k, sums);
        } else if (R::kCollapses != 0 || !unit) {
            take.template operator()<Take::kWeighted>(k, 0);
        } else {
            take.template operator()<Take::kUnit>(k, room_of(at, at));
        }
    }
}

}  // namespace clusterglm
