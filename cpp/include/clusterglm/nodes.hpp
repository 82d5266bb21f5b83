// The nodes of a quadrature rule in one cluster: log-integrand, its derivatives and the rows' terms at every node.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "lanes.hpp"
#include "location.hpp"
#include "rows.hpp"

namespace clusterglm {

// Adaptive rules put nodes at mode + c * omega; fixed rules at c itself. Padded to whole lanes with nodes of no weight.
struct Rule {
    bool adaptive = true;
    int count = 0;
    std::vector<double> c, log_weight;

    Rule(bool is_adaptive, const double* positions, const double* log_weights, int nodes)
        : adaptive(is_adaptive), count(nodes), c(padded(nodes), 0.0), log_weight(padded(nodes), -1e300) {
        for (int k = 0; k < nodes; ++k) c[k] = positions[k], log_weight[k] = log_weights[k];
    }
    int size() const { return static_cast<int>(c.size()); }
};

// Arrays over nodes, all of length `size`.
struct Nodes {
    int size = 0;
    std::vector<double> memory;
    double *s, *m, *E, *m1, *m2, *r, *r1, *v, *a, *a1, *a2;       // where they lie
    double *q, *pi, *S1, *S2, *g_s, *rS1, *c_g_s, *pi_m1, *pi_c_m1, *pi_r;  // what they hold
    std::vector<int> active;                                       // first nodes of the lane groups that carry weight

    explicit Nodes(int count) : size(count), memory(static_cast<std::size_t>(21) * count) {
        double** fields[] = {&s, &m, &E, &m1, &m2, &r, &r1, &v, &a, &a1, &a2, &q, &pi, &S1, &S2, &g_s, &rS1, &c_g_s, &pi_m1, &pi_c_m1, &pi_r};
        double* next = memory.data();
        for (double** field : fields) *field = next, next += count;
        active.reserve(count / kLanes + 1);
    }
    Nodes(const Nodes&) = delete;
    Nodes& operator=(const Nodes&) = delete;

    CLUSTERGLM_INLINE void locate(const LocationMap& map, double sigma) {
        map.nodes(s, size, sigma, {m, m1, m2, r, r1, v, a, a1, a2});
        for (int k = 0; k < size; k += kLanes) store(E + k, lanes::exp(load(m + k)));
    }
};

// One pack of nodes: sums over rows of log P, without the part linear in lambda; with Keep also of G and H, and each row's own.
template <class R, bool Unit, bool Keep>
CLUSTERGLM_INLINE void lane_group(const ClusterRows& rows, int first, int last, const double* m, const double* E, double* log_p,
                                  double* S1, double* S2, double* G, double* H, int stride) {
    const Pack at = load(m), exp_at = load(E), one = all(1.0);
    Pack sum = load(log_p), factor = one, g = load(S1), h = load(S2);
    // So many factors may be multiplied before their product could leave the range of doubles.
    const double low = std::min(std::min(at[0], at[1]), std::min(at[2], at[3])), high = std::max(std::max(at[0], at[1]), std::max(at[2], at[3]));
    const double bound = R::log_factor_bound(rows.eta_low + low, rows.eta_high + high);
    const int room = bound > 6e-4 ? static_cast<int>(600.0 / bound) : 1000000;
    int left = room;
    for (int j = first; j < last; ++j) {
        const Row<Pack> row{all(rows.eta[j]), all(rows.e[j]), all(rows.a[j]), all(rows.b[j])};
        const NodeTerms<Pack> t = R::template node<Unit>(row, at, exp_at);
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
template <class R, bool Keep>
inline void lane_group_stable(const ClusterRows& rows, int first, int last, const double* m, double* log_p, double* S1, double* S2,
                              double* G, double* H, int stride) {
    for (int j = first; j < last; ++j)
        for (int l = 0; l < kLanes; ++l) {
            const StableTerms t = R::stable(rows.eta[j] + m[l], rows.a[j], rows.b[j]);
            log_p[l] += t.value;
            S1[l] += t.G;
            S2[l] += t.H;
            if constexpr (Keep) {
                G[static_cast<std::size_t>(j - first) * stride + l] = t.G;
                H[static_cast<std::size_t>(j - first) * stride + l] = t.H;
            }
        }
}

// Rows first..last of the cluster at all nodes, added to log_p, S1 and S2.
template <class R, bool Keep>
CLUSTERGLM_INLINE void all_nodes(const ClusterRows& rows, int first, int last, bool unit, const Nodes& nodes, double* log_p, double* G,
                                 double* H) {
    const double reach = rows.reach();
    double sum_a = rows.sum_a, sum_a_eta = rows.sum_a_eta;
    if (last - first != rows.n) {
        sum_a = sum_a_eta = 0.0;
        for (int j = first; j < last; ++j) sum_a += rows.a[j], sum_a_eta += rows.a[j] * rows.eta[j];
    }
    for (int k = 0; k < nodes.size; k += kLanes) {
        double far = 0.0;
        for (int l = 0; l < kLanes; ++l) far = std::fabs(nodes.m[k + l]) > far ? std::fabs(nodes.m[k + l]) : far;
        double *g = Keep ? G + k : nullptr, *h = Keep ? H + k : nullptr, *S1 = nodes.S1 + k, *S2 = nodes.S2 + k;
        if (!(far + reach < ClusterRows::kRange)) {
            lane_group_stable<R, Keep>(rows, first, last, nodes.m + k, log_p + k, S1, S2, g, h, nodes.size);
            continue;
        }
        if (unit)
            lane_group<R, true, Keep>(rows, first, last, nodes.m + k, nodes.E + k, log_p + k, S1, S2, g, h, nodes.size);
        else
            lane_group<R, false, Keep>(rows, first, last, nodes.m + k, nodes.E + k, log_p + k, S1, S2, g, h, nodes.size);
        if constexpr (R::kLinear)
            for (int l = 0; l < kLanes; ++l) log_p[k + l] += sum_a_eta + sum_a * nodes.m[k + l];
    }
}

}  // namespace clusterglm
