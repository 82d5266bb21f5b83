// The part of a unit's Hessian that comes from rows, the sum of E[H w w'], w = (x, z1_a u_b, z2_a v_b). Rows of many units are gathered
// first: lanes run over them.
#pragma once
#include <algorithm>
#include <utility>
#include <vector>

#include "blocks.hpp"
#include "nested_rows.hpp"

namespace clusterglm {

class NestedHessian {
   public:
    explicit NestedHessian(const NestedModel& model)
        : q_(model.parameters()), P_(static_cast<int>(model.beta.size())), d_(model.upper.d + model.lower.d), powers_(1 + d_ + d_ * (d_ + 1) / 2) {
        for (int r = 0; r < model.p; ++r) column_.push_back(r), effect_.push_back(-1);
        int first = 0;
        for (const NestedLevel* level : {&model.upper, &model.lower}) {
            for (int e = 0; e < level->entries; ++e) {
                column_.push_back(static_cast<int>(level->columns[level->row[e]]));
                effect_.push_back(first + static_cast<int>(level->col[e]));
            }
            first = level->d;
        }
        x_.resize(static_cast<std::size_t>(P_) * kRows), moments_.resize(static_cast<std::size_t>(powers_) * kRows), by_.resize(kRows);
        cells_.resize(static_cast<std::size_t>(q_) * (q_ + 1) / 2 * kLanes);
    }

    // Of 1, e_t and e_t e_s (s <= t), where e = (u, v).
    int powers() const { return powers_; }
    static int power(int t, int s, int d) {
        if (t < s) std::swap(t, s);
        if (t < 0) return 0;
        return s < 0 ? 1 + t : 1 + d + t * (t + 1) / 2 + s;
    }

    void begin() {
        std::fill(cells_.begin(), cells_.end(), 0.0);
        rows_ = 0;
    }

    // A row, and its E[H], E[H e_t], E[H e_t e_s] as sums of lanes, times a weight.
    void add(const double* x, const Pack* moments, double weight) {
        for (int r = 0; r < P_; ++r) x_[r * kRows + rows_] = x[r];
        for (int m = 0; m < powers_; ++m) moments_[m * kRows + rows_] = weight * reduce(moments[m]);
        if (++rows_ == kRows) flush();
    }

    // Adds all to the lower triangle.
    void end(Sum& sum) {
        flush();
        const double* cell = cells_.data();
        for (int r = 0; r < q_; ++r)
            for (int s = 0; s <= r; ++s, cell += kLanes) sum.hessian[static_cast<std::size_t>(r) * sum.stride + s] += reduce(load(cell));
    }

   private:
    static constexpr int kRows = 128;
    const int q_, P_, d_, powers_;
    int rows_ = 0;
    std::vector<int> column_, effect_;  // of each parameter: its column of X, and the effect with which it is multiplied, or -1
    std::vector<double> x_, moments_, by_, cells_;

    void flush() {
        const int size = padded(rows_);
        for (int j = rows_; j < size; ++j) {
            for (int r = 0; r < P_; ++r) x_[r * kRows + j] = 0.0;
            for (int m = 0; m < powers_; ++m) moments_[m * kRows + j] = 0.0;
        }
        double* cell = cells_.data();
        for (int r = 0; r < q_; ++r) {
            const double* x = &x_[column_[r] * kRows];
            int known = -1;
            for (int s = 0; s <= r; ++s, cell += kLanes) {
                const int m = power(effect_[r], effect_[s], d_);
                if (m != known) {
                    const double* h = &moments_[m * kRows];
                    for (int i = 0; i < size; i += kLanes) store(&by_[i], load(x + i) * load(h + i));
                    known = m;
                }
                const double* y = &x_[column_[s] * kRows];
                Pack sum = load(cell);
                for (int i = 0; i < size; i += kLanes) sum += load(&by_[i]) * load(y + i);
                store(cell, sum);
            }
        }
        rows_ = 0;
    }
};

}  // namespace clusterglm
