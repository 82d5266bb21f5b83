// Parameters of a response's own: rows whose log P depends on one of a few numbers w besides lambda. They are further coordinates
// beside the rows' linear predictors, each the sum of what its rows have: like a row whose G is the sum of dl/dw, and whose H, I and K
// are those of the derivatives of dl/dw in lambda.
#pragma once
#include <cstddef>
#include <vector>

#include "nodes.hpp"
#include "rows.hpp"

namespace clusterglm {

// The own derivatives of a cluster's rows at its mode, and the cluster's own sums there.
template <class R, class V>
struct OwnRows {
    int count = 0;               // parameters
    std::vector<double> member;  // rows x count of V: 1 where the row has the parameter
    std::vector<double> at_mode;  // five sections of rows of V: OwnAtMode

    explicit OwnRows(int parameters) : count(parameters) {}

    void resize(int n) {
        cells_ = static_cast<std::size_t>(padded(n * kWidth<V>));
        if (at_mode.size() < 5 * cells_) at_mode.resize(5 * cells_);
        if (member.size() < cells_ * count) member.resize(cells_ * count);
    }
    double* has(int j, int c) { return &member[(static_cast<std::size_t>(j) * count + c) * kWidth<V>]; }
    V weight(int j, int c) const { return get<V>(member.data(), j * count + c); }

    // At an intercept of m.
    CLUSTERGLM_INLINE void find(const Rows<V>& rows, V m) {
        double* to = at_mode.data();
        const bool near = lanes::every(rows.reach() + lanes::magnitude(m) <= V{} + Rows<V>::kRange);
        const Pack M = spread(m), E = lanes::exp(M);
        for (int i = 0, end = rows.size(); i < end; i += kLanes) {
            OwnAtMode<Pack> d;
            if (near) {
                d = R::own_at_mode(Row<Pack>{load(&rows.eta[i]), load(&rows.e[i]), load(&rows.a[i]), load(&rows.b[i])}, M, E);
            } else {
                for (int l = 0; l < kLanes; ++l) {
                    const OwnAtMode<double> one = R::own_at_mode_stable(rows.eta[i + l] + M[l], rows.a[i + l], rows.b[i + l]);
                    d.Gg[l] = one.Gg, d.Hg[l] = one.Hg, d.Ig[l] = one.Ig, d.Ggg[l] = one.Ggg, d.Hgg[l] = one.Hgg;
                }
            }
            store(to + i, d.Gg), store(to + cells_ + i, d.Hg), store(to + 2 * cells_ + i, d.Ig);
            store(to + 3 * cells_ + i, d.Ggg), store(to + 4 * cells_ + i, d.Hgg);
        }
    }
    CLUSTERGLM_INLINE OwnAtMode<V> of_row(int j) const {
        const double* from = at_mode.data();
        return {get<V>(from, j), get<V>(from + cells_, j), get<V>(from + 2 * cells_, j), get<V>(from + 3 * cells_, j), get<V>(from + 4 * cells_, j)};
    }
    // Summed over the rows that have parameter c.
    CLUSTERGLM_INLINE OwnAtMode<V> summed(int n, int c) const {
        OwnAtMode<V> sum{};
        for (int j = 0; j < n; ++j) {
            const V w = weight(j, c);
            const OwnAtMode<V> d = of_row(j);
            sum.Gg += w * d.Gg, sum.Hg += w * d.Hg, sum.Ig += w * d.Ig, sum.Ggg += w * d.Ggg, sum.Hgg += w * d.Hgg;
        }
        return sum;
    }

   private:
    std::size_t cells_ = 0;
};

}  // namespace clusterglm
