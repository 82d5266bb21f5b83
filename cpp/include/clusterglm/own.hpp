// Parameters of a response's own: rows whose log P depends on one or two numbers w besides lambda. Each parameter is part of one of
// these: w of row j is the sum of z_jc times parameter c. They are further coordinates beside the rows' linear predictors, each the sum
// of what its rows have, z times: like a row whose G is the sum of z dl/dw, and whose H, I and K are those of the derivatives of dl/dw
// in lambda.
#pragma once
#include <cstddef>
#include <vector>

#include "problem.hpp"
#include "rows.hpp"

namespace clusterglm {

// Which rows have which parameters, and how much of each.
class OwnColumns {
   public:
    explicit OwnColumns(const Problem& problem) : problem_(problem) {}

    double weight(std::int64_t row, int c) const {
        if (problem_.own_columns) return problem_.own_columns[row * problem_.own + c];
        return problem_.groups[row] == c ? 1.0 : 0.0;
    }
    // The kernel's own number that a parameter is part of.
    int number(int c) const { return problem_.own_numbers ? static_cast<int>(problem_.own_numbers[c]) : 0; }
    // Whether a row may have more than one parameter.
    bool shared() const { return problem_.own_columns != nullptr; }
    // body(c, z) for the parameters that a row has.
    template <class Body>
    CLUSTERGLM_INLINE void each(std::int64_t row, const Body& body) const {
        if (!shared()) {
            if (problem_.groups[row] >= 0) body(static_cast<int>(problem_.groups[row]), 1.0);
            return;
        }
        const double* z = problem_.own_columns + row * problem_.own;
        for (int c = 0; c < problem_.own; ++c)
            if (z[c] != 0.0) body(c, z[c]);
    }

   private:
    const Problem& problem_;
};

// What the mode needs of a number's derivatives, and of those of two numbers.
template <class V>
struct OwnCurve {
    V Gg, Hg, Ig;
};
template <class V>
struct OwnBend {
    V Ggg, Hgg;
};

// The own derivatives of a cluster's rows at its mode, and the cluster's own sums there. J: how many numbers of its own the kernel has.
template <int J, class V>
struct OwnRows {
    static constexpr int kPairs = own_pairs(J), kSections = 3 * J + 2 * kPairs;
    const OwnColumns columns;
    const int count;              // parameters
    std::vector<double> member;   // rows x count of V: how much the row has of the parameter
    std::vector<double> at_mode;  // sections of rows of V: OwnAtMode

    explicit OwnRows(const Problem& problem) : columns(problem), count(J > 0 ? problem.own : 0) {}

    void resize(int n) {
        cells_ = static_cast<std::size_t>(padded(n * kWidth<V>));
        if (at_mode.size() < kSections * cells_) at_mode.resize(kSections * cells_);
        if (member.size() < cells_ * count) member.resize(cells_ * count);
    }
    double* has(int j, int c) { return &member[(static_cast<std::size_t>(j) * count + c) * kWidth<V>]; }
    V weight(int j, int c) const { return get<V>(member.data(), j * count + c); }
    int pair(int c, int d) const { return own_pair(columns.number(c), columns.number(d)); }

    // At an intercept of m, by the kernel's loop.
    template <class Loop>
    void find(const Loop& own_at_mode, const Rows<V>& rows, V m) {
        own_at_mode(rows, m, at_mode.data(), cells_);
    }
    CLUSTERGLM_INLINE OwnCurve<V> curve(int j, int number) const {
        const double* from = at_mode.data() + 3 * number * cells_;
        return {get<V>(from, j), get<V>(from + cells_, j), get<V>(from + 2 * cells_, j)};
    }
    CLUSTERGLM_INLINE OwnBend<V> bend(int j, int pair) const {
        const double* from = at_mode.data() + (3 * J + 2 * pair) * cells_;
        return {get<V>(from, j), get<V>(from + cells_, j)};
    }
    // Summed over rows, as much as each has of parameter c; of parameters c and d.
    CLUSTERGLM_INLINE OwnCurve<V> summed(int n, int c) const {
        OwnCurve<V> sum{};
        for (int j = 0; j < n; ++j) {
            const V w = weight(j, c);
            const OwnCurve<V> d = curve(j, columns.number(c));
            sum.Gg += w * d.Gg, sum.Hg += w * d.Hg, sum.Ig += w * d.Ig;
        }
        return sum;
    }
    CLUSTERGLM_INLINE OwnBend<V> summed(int n, int c, int d) const {
        OwnBend<V> sum{};
        for (int j = 0; j < n; ++j) {
            const V w = weight(j, c) * weight(j, d);
            const OwnBend<V> of = bend(j, pair(c, d));
            sum.Ggg += w * of.Ggg, sum.Hgg += w * of.Hgg;
        }
        return sum;
    }

   private:
    std::size_t cells_ = 0;
};

}  // namespace clusterglm
