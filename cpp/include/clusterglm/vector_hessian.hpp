// The part of the Hessian that comes from rows, the sum of E[H w w'], w = (x, z_a u_b). Rows of many clusters are gathered first: lanes run
// over them.
#pragma once
#include <algorithm>
#include <vector>

#include "blocks.hpp"
#include "gram.hpp"
#include "vector_rows.hpp"

namespace clusterglm {

class VectorHessian {
   public:
    static constexpr int kMostPowers = 1 + kMostEffects + kMostEffects * (kMostEffects + 1) / 2;

    explicit VectorHessian(const VectorModel& model)
        : model_(model), q_(model.parameters()), P_(static_cast<int>(model.beta.size())), powers_(1 + model.d + model.d * (model.d + 1) / 2),
          x_(cells(P_)), moments_(cells(powers_)), by_(kRows), cells_(static_cast<std::size_t>(q_) * (q_ + 1) / 2 * kLanes) {}

    // Of 1, u_t and u_t u_s (s <= t).
    int kPowers() const { return powers_; }

    void begin() {
        std::fill(cells_.begin(), cells_.end(), 0.0);
        rows_ = 0;
    }

    // Where the moments of the next rows go, E[H], E[H u_t], E[H u_t u_s] times the cluster's weight, arrays that are `kRows` apart.
    static constexpr int kRows = Columns::kRows;
    CLUSTERGLM_INLINE double* moments() { return &moments_[rows_]; }

    // Before that: n of them at most, with padding.
    CLUSTERGLM_INLINE void make_room(int n) {
        if (rows_ + padded(n) > kRows) flush_rows();
    }
    // After that: their columns of X.
    template <class Column>
    CLUSTERGLM_INLINE void add_rows(int n, const Column& column) {
        for (int r = 0; r < P_; ++r)
            for (int i = 0; i < n; i += kLanes) store(&x_[cells(r) + rows_ + i], load(column(r) + i));
        rows_ += n;
    }

    // Adds all to the lower triangle.
    void end(Sum& sum) {
        flush_rows();
        const double* cell = cells_.data();
        for (int r = 0; r < q_; ++r)
            for (int s = 0; s <= r; ++s, cell += kLanes) sum.hessian[static_cast<std::size_t>(r) * sum.stride + s] += reduce(load(cell));
    }

   private:
    const VectorModel& model_;
    const int q_, P_, powers_;
    std::vector<double> x_, moments_, by_, cells_;
    int rows_ = 0;

    static std::size_t cells(int columns) { return static_cast<std::size_t>(columns) * kRows; }

    // The column of a parameter, and the effect with which it is multiplied, or -1.
    const double* column(int r) const { return &x_[cells(r < model_.p ? r : static_cast<int>(model_.columns[model_.row[r - model_.p]]))]; }
    int effect(int r) const { return r < model_.p ? -1 : static_cast<int>(model_.col[r - model_.p]); }
    int power(int t, int s) const {
        if (t < s) std::swap(t, s);
        if (t < 0) return 0;
        return s < 0 ? 1 + t : 1 + model_.d + t * (t + 1) / 2 + s;
    }

    void flush_rows() {
        if (rows_ == 0) return;
        const int size = padded(rows_);
        for (int j = rows_; j < size; ++j) {
            for (int r = 0; r < P_; ++r) x_[cells(r) + j] = 0.0;
            for (int m = 0; m < powers_; ++m) moments_[cells(m) + j] = 0.0;
        }
        double* cell = cells_.data();
        for (int r = 0; r < q_; ++r) {
            const double* x = column(r);
            int known = -1;
            for (int s = 0; s <= r;) {
                const int m = power(effect(r), effect(s));
                if (m != known) {
                    const double* h = &moments_[cells(m)];
                    for (int i = 0; i < size; i += kLanes) store(&by_[i], load(x + i) * load(h + i));
                    known = m;
                }
                int together = 1;
                while (together < 4 && s + together <= r && power(effect(r), effect(s + together)) == m) ++together;
                if (together == 4) dots<4>(s, size, cell);
                else if (together == 3) dots<3>(s, size, cell);
                else if (together == 2) dots<2>(s, size, cell);
                else dots<1>(s, size, cell);
                s += together, cell += together * kLanes;
            }
        }
        rows_ = 0;
    }

    template <int N>
    CLUSTERGLM_INLINE void dots(int s, int size, double* cell) const {
        Pack sum[N];
        const double* columns[N];
        for (int r = 0; r < N; ++r) sum[r] = load(cell + r * kLanes), columns[r] = column(s + r);
        for (int i = 0; i < size; i += kLanes) {
            const Pack by = load(&by_[i]);
            for (int r = 0; r < N; ++r) sum[r] += by * load(columns[r] + i);
        }
        for (int r = 0; r < N; ++r) store(cell + r * kLanes, sum[r]);
    }
};

}  // namespace clusterglm
