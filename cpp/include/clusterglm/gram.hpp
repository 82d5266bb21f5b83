// Sums over rows of g x and of h x x'. Rows are turned into columns first: lanes then run over rows, and every product is a load
// and a multiplication without shuffles.
#pragma once
#include <algorithm>
#include <cstddef>
#include <vector>

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

    // Four rows as pack i.
    CLUSTERGLM_INLINE void set(int i, const double* const (&row)[kLanes]) {
        double* to = memory_.data() + i * kLanes;
        int r = 0;
        for (; r + kLanes <= p; r += kLanes, to += kLanes * kRows) {
            Pack x[kLanes];
            for (int l = 0; l < kLanes; ++l) x[l] = clusterglm::load(row[l] + r);
            transpose(x);
            for (int l = 0; l < kLanes; ++l) store(to + l * kRows, x[l]);
        }
        for (; r < p; ++r, to += kRows) store(to, Pack{row[0][r], row[1][r], row[2][r], row[3][r]});
    }

    // n <= kRows rows, one after another, as packs from 0 on; rows of zeros fill the last.
    CLUSTERGLM_INLINE void load(const double* x, int n) {
        for (int j = 0; j < n; j += kLanes, x += kLanes * p) {
            const double* row[kLanes];
            for (int l = 0; l < kLanes; ++l) row[l] = j + l < n ? x + l * p : no_row();
            set(j / kLanes, row);
        }
    }

    // sum_r by[r] x_r for the rows of pack i, added to `sum`.
    CLUSTERGLM_INLINE Pack dot(int i, const double* by, Pack sum) const {
        const double* from = memory_.data() + i * kLanes;
        for (int r = 0; r < p; ++r, from += kRows) sum += by[r] * clusterglm::load(from);
        return sum;
    }

   private:
    std::vector<double> memory_, nothing_;
};

// The sums, of many chunks of rows.
class ColumnSums {
   public:
    explicit ColumnSums(int p) : p_(p), memory_(static_cast<std::size_t>(p + p % 2 + tiles(p + p % 2) * 4) * kLanes) {}

    CLUSTERGLM_INLINE void begin() { std::fill(memory_.begin(), memory_.end(), 0.0); }

    // Adds the first `packs` packs of rows with weights g, and h unless null. Writes up to a pack beyond the weights' end.
    CLUSTERGLM_INLINE void add(const Columns& x, int packs, double* g, double* h) {
        const int cells = packs * kLanes;
        if (packs % 2 == 1) {  // packs go in pairs
            store(g + cells, Pack{});
            if (h) store(h + cells, Pack{});
        }
        double *score = memory_.data(), *tile = score + x.even * kLanes;
        for (int r = 0; r < x.even; r += 2, score += 2 * kLanes) {
            const double* left[] = {x.column(r), x.column(r + 1)};
            double scaled[2][Columns::kRows];
            Pack sum[] = {load(score), load(score + kLanes)};
            for (int i = 0; i < cells; i += kLanes)
                for (int k = 0; k < 2; ++k) {
                    const Pack column = load(left[k] + i);
                    sum[k] += load(g + i) * column;
                    if (h) store(scaled[k] + i, load(h + i) * column);
                }
            store(score, sum[0]), store(score + kLanes, sum[1]);
            if (!h) continue;
            if (packs % 2 == 1) store(scaled[0] + cells, Pack{}), store(scaled[1] + cells, Pack{});
            for (int s = 0; s <= r; s += 2, tile += 4 * kLanes) add_tile(scaled, x.column(s), x.column(s + 1), cells, tile);
        }
    }

    // Adds the sums of g x to `score`, those of h x x' to the lower triangle of `hessian`, its rows `stride` apart.
    CLUSTERGLM_INLINE void end(double* score, double* hessian, int stride) const {
        const double* from = memory_.data();
        for (int r = 0; r < p_; ++r) score[r] += reduce(load(from + r * kLanes));
        from += (p_ + p_ % 2) * kLanes;
        for (int r = 0; r < p_; r += 2)
            for (int s = 0; s <= r; s += 2, from += 4 * kLanes)
                for (int k = 0; k < 4; ++k)
                    if (r + k / 2 < p_ && s + k % 2 <= r + k / 2) hessian[(r + k / 2) * stride + s + k % 2] += reduce(load(from + k * kLanes));
    }

   private:
    int p_;
    std::vector<double> memory_;  // packs: sums of g x; then those of h x x', two columns by two

    static int tiles(int even) { return even / 2 * (even / 2 + 1) / 2; }

    // Two columns by two, two packs of rows at a time: eight sums that do not wait for one another.
    static CLUSTERGLM_INLINE void add_tile(const double (&x)[2][Columns::kRows], const double* y0, const double* y1, int cells, double* to) {
        Pack even[4]{}, odd[4];
        for (int k = 0; k < 4; ++k) odd[k] = load(to + k * kLanes);
        for (int i = 0; i < cells; i += 2 * kLanes) {
            const Pack a0 = load(x[0] + i), a1 = load(x[1] + i), b0 = load(y0 + i), b1 = load(y1 + i);
            const Pack c0 = load(x[0] + i + kLanes), c1 = load(x[1] + i + kLanes), d0 = load(y0 + i + kLanes), d1 = load(y1 + i + kLanes);
            even[0] += a0 * b0, even[1] += a0 * b1, even[2] += a1 * b0, even[3] += a1 * b1;
            odd[0] += c0 * d0, odd[1] += c0 * d1, odd[2] += c1 * d0, odd[3] += c1 * d1;
        }
        for (int k = 0; k < 4; ++k) store(to + k * kLanes, even[k] + odd[k]);
    }
};

}  // namespace clusterglm
