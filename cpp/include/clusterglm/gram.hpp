// Sums over rows of g x and of h x x'. Rows are turned into columns first: lanes then run over rows, and every product is a load
// and a multiplication without shuffles.
#pragma once
#include <algorithm>
#include <cstddef>
#include <vector>

#include "four.hpp"
#include "lanes.hpp"

namespace clusterglm {

// The columns of some rows of X, four rows a pack. A column of zeros makes their number even.
class Columns {
   public:
    static constexpr int kPacks = 32, kRows = kPacks * kLanes;
    const int p, even;

    explicit Columns(int columns)
        : p(columns), even(columns + columns % 2), memory_(static_cast<std::size_t>(even) * kRows), nothing_(static_cast<std::size_t>(columns)) {}

    double* column(int r) { return &memory_[static_cast<std::size_t>(r) * kRows]; }
    const double* column(int r) const { return &memory_[static_cast<std::size_t>(r) * kRows]; }
    const double* no_row() const { return nothing_.data(); }

    // Four rows as pack i; returns sum_r by[r] x_r, added to `sum`.
    CLUSTERGLM_INLINE Pack set(int i, const FourRows& row, const double* by, Pack sum) {
        double* to = memory_.data() + i * kLanes;
        return with_known(p, [=, this]<int P>() CLUSTERGLM_INLINE_LAMBDA {
            Pack dot = sum;
            each_column<P>(row, p, [&](int r, Pack column) CLUSTERGLM_INLINE_LAMBDA {
                store(to + r * kRows, column);
                dot += by[r] * column;
            });
            return dot;
        });
    }

    CLUSTERGLM_INLINE void set(int i, const FourRows& row) {
        double* to = memory_.data() + i * kLanes;
        each_column<0>(row, p, [&](int r, Pack column) CLUSTERGLM_INLINE_LAMBDA { store(to + r * kRows, column); });
    }

    // body(i, row) for n <= kRows rows, one after another: four pointers to rows for pack i; rows of zeros fill the last.
    template <class Body>
    CLUSTERGLM_INLINE void by_four(const double* x, int n, const Body& body) const {
        for (int i = 0; i * kLanes < n; ++i, x += kLanes * p) {
            FourRows row{x, x + p, x + 2 * p, x + 3 * p};
            for (int l = n - i * kLanes; l < kLanes; ++l) row[l] = no_row();
            body(i, row);
        }
    }

   private:
    std::vector<double> memory_, nothing_;
};

// The sums, of many chunks of rows.
class ColumnSums {
   public:
    explicit ColumnSums(int p) : even_(p + p % 2), p_(p), memory_(static_cast<std::size_t>(even_ + cell(even_, 0)) * kLanes) {}

    CLUSTERGLM_INLINE void begin() { std::fill(memory_.begin(), memory_.end(), 0.0); }

    // Adds the first `packs` packs of rows with weights g and h, unless null.
    CLUSTERGLM_INLINE void add(const Columns& x, int packs, const double* g, const double* h) {
        if (g) in_parts(even_, [&]<int S>(int s) CLUSTERGLM_INLINE_LAMBDA { add_score<S>(x, s, packs * kLanes, g); });
        if (!h) return;
        for (int r = 0; r < even_; r += 2)
            in_parts(r + 2, [&]<int S>(int s) CLUSTERGLM_INLINE_LAMBDA { add_tile<S>(x, r, s, packs * kLanes, h); });
    }

    // Adds the sums of g x to `score`, those of h x x' to the lower triangle of `hessian`, its rows `stride` apart.
    CLUSTERGLM_INLINE void end(double* score, double* hessian, int stride) const {
        for (int r = 0; r < p_; ++r) {
            score[r] += reduce(load(memory_.data() + r * kLanes));
            for (int s = 0; s <= r; ++s) hessian[r * stride + s] += reduce(load(square(r, s)));
        }
    }

   private:
    int even_, p_;
    std::vector<double> memory_;  // packs: sums of g x; then those of h x x', two rows of the triangle of equal length at a time

    static int cell(int r, int s) { return r / 2 * (r / 2 + 1) * 2 + r % 2 * (r + 1) + s; }
    double* square(int r, int s) { return &memory_[static_cast<std::size_t>(even_ + cell(r, s)) * kLanes]; }
    const double* square(int r, int s) const { return &memory_[static_cast<std::size_t>(even_ + cell(r, s)) * kLanes]; }

    // Columns 0..count, an even number, by six, four or two: with two others they make as many sums as registers can hold.
    template <class Body>
    static CLUSTERGLM_INLINE void in_parts(int count, const Body& body) {
        int s = 0;
        for (; count - s >= 6; s += 6) body.template operator()<6>(s);
        if (count - s == 4) body.template operator()<4>(s);
        if (count - s == 2) body.template operator()<2>(s);
    }

    // g x of columns s..s + S.
    template <int S>
    CLUSTERGLM_INLINE void add_score(const Columns& x, int s, int cells, const double* g) {
        const double* column = x.column(s);
        double* to = &memory_[static_cast<std::size_t>(s) * kLanes];
        Pack sum[S];
        for (int k = 0; k < S; ++k) sum[k] = load(to + k * kLanes);
        for (int i = 0; i < cells; i += kLanes) {
            const Pack by = load(g + i);
            for (int k = 0; k < S; ++k) sum[k] += by * load(column + k * Columns::kRows + i);
        }
        for (int k = 0; k < S; ++k) store(to + k * kLanes, sum[k]);
    }

    // h x x' of columns r and r + 1 with s..s + S.
    template <int S>
    CLUSTERGLM_INLINE void add_tile(const Columns& x, int r, int s, int cells, const double* h) {
        const double *upper = x.column(r), *lower = x.column(r + 1), *column = x.column(s);
        double *to = square(r, s), *below = square(r + 1, s);
        Pack sum[S], sum_below[S];
        for (int k = 0; k < S; ++k) sum[k] = load(to + k * kLanes), sum_below[k] = load(below + k * kLanes);
        for (int i = 0; i < cells; i += kLanes) {
            const Pack by = load(h + i), a = by * load(upper + i), b = by * load(lower + i);
            for (int k = 0; k < S; ++k) {
                const Pack y = load(column + k * Columns::kRows + i);
                sum[k] += a * y, sum_below[k] += b * y;
            }
        }
        for (int k = 0; k < S; ++k) store(to + k * kLanes, sum[k]), store(below + k * kLanes, sum_below[k]);
    }
};

}  // namespace clusterglm
