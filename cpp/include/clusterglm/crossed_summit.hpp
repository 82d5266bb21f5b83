// Units of which only the summit of the log-integrand counts: Laplace's approximation over a unit's effects u and those outside together.
//
// With S the curvature in u at the mode and C = -sum of H A b', the second derivative of the summit in outside effects is
// B'diag(H)B + C'S^-1 C. The joint inverse has the blocks P, X = -S^-1 C P and S^-1 - X C'S^-1, P that of the Schur complement.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "crossed_outside.hpp"
#include "vector.hpp"

namespace clusterglm {

template <int D>
class CrossedSummit {
   public:
    CrossedSummit(const RowLoops& loops, const Problem& problem, const VectorModel& model, const PointSet*, const VectorPlaces& places,
                  const Outside& outside, const CrossedInputs& in)
        : problem_(problem), model_(model), places_(places), outside_(outside), in_(in), rows_(loops, problem, model) {}

    void add(std::int64_t unit, const CrossedOutputs& out, double* block) {
        const double weight = problem_.cluster_weights[unit];
        start_ = problem_.starts[unit], count_ = outside_.count(unit), stride_ = padded(count_);
        double* u = places_.centres + unit * d();
        double* factor = places_.factors + unit * d() * d();
        rows_.load(unit);
        if (in_.known) {
            for (int t = 0; t < d(); ++t) std::copy_n(factor + t * d(), d(), rows_.F[t]);
        } else {
            rows_.find_mode(u, places_.precise, in_.task != CrossedTask::kContract && in_.task != CrossedTask::kDirection);
            for (int t = 0; t < d(); ++t) std::copy_n(rows_.F[t], d(), factor + t * d());
        }
        double value = 0.0, determinant = 1.0;
        for (int t = 0; t < d(); ++t) value -= 0.5 * u[t] * u[t], determinant *= rows_.F[t][t];
        if (out.values) out.values[unit] = weight * (rows_.log_p(u) + value);
        if (out.logs) out.logs[unit] = weight * std::log(determinant);
        if (in_.task == CrossedTask::kValue) return;
        keep();
        double* entries = out.entries ? out.entries + unit * model_.entries : nullptr;
        if (in_.task == CrossedTask::kScore) {
            for (int j = 0; j < rows_.n; ++j) out.rows[start_ + j] = weight * rows_.G[j];
            for (int e = 0; e < model_.entries && entries; ++e) {
                const double* z = effect(static_cast<int>(model_.row[e]));
                double sum = 0.0;
                for (int j = 0; j < rows_.n; ++j) sum += z[j] * rows_.G[j];
                entries[e] = weight * sum * u[model_.col[e]];
            }
            return;
        }
        if (in_.task == CrossedTask::kDirection) return along(weight, u, out.rows, entries);
        couple();
        if (in_.task == CrossedTask::kCurvature) add_curvature(weight, block);
        else contract(unit, weight, u, out, entries);
    }

    // Of what `add_curvature` leaves: how many numbers it has, and what they make in rows low..high of the component's matrix subtracted.
    static std::size_t cells(const Outside& outside, const Problem& problem, int d, std::int64_t unit) {
        const std::size_t each = padded(outside.count(unit)), rows = static_cast<std::size_t>(problem.starts[unit + 1] - problem.starts[unit]);
        return 2 * static_cast<std::size_t>(d) * each + (outside.width > 1 ? rows : each);
    }
    static void subtract(const Outside& outside, const Problem& problem, int d, std::int64_t unit, const double* from, std::int64_t low, std::int64_t high,
                         double* matrix) {
        if (D > 0) d = D;
        const int stride = padded(outside.count(unit));
        const double *C = from, *SC = C + static_cast<std::size_t>(d) * stride, *last = SC + static_cast<std::size_t>(d) * stride;
        outside.each_touched(unit, low, high, matrix, [&](int a, double* to, const std::int32_t* at) CLUSTERGLM_INLINE_LAMBDA {
            for (int t = 0; t < d; ++t) {
                const double by = C[t * stride + a], *row = SC + t * stride;
                if (at) {
                    for (int b = 0; b <= a; ++b) to[at[b]] -= by * row[b];
                } else {
                    for (int b = 0; b <= a; ++b) to[b] -= by * row[b];
                }
            }
            if (outside.width == 1) to[at ? at[a] : a] -= last[a];
        });
        if (outside.width == 1) return;
        const std::int32_t* at = outside.touched + outside.starts[unit];
        for (std::int64_t j = problem.starts[unit]; j < problem.starts[unit + 1]; ++j, ++last) {
            const std::int32_t* local = outside.local + j * outside.width;
            const double* b = outside.slopes + j * outside.width;
            for (int w = 0; w < outside.width; ++w) {
                const std::int64_t row = at[local[w]];
                if (row < low || row >= high) continue;
                for (int x = 0; x < outside.width; ++x)
                    if (local[w] >= local[x]) matrix[row * outside.size[unit] + at[local[x]]] -= *last * b[w] * b[x];
            }
        }
    }
    static constexpr bool kManyCells = false;

   private:
    const Problem& problem_;
    const VectorModel& model_;
    const VectorPlaces& places_;
    const Outside& outside_;
    const CrossedInputs& in_;
    VectorRows<D> rows_;
    std::int64_t start_ = 0;
    int count_ = 0, stride_ = 0;
    std::vector<double> C_, SC_, X_;  // d x touched each: C, S^-1 C, the joint inverse's block
    TouchedPart touched_;

    CLUSTERGLM_INLINE int d() const { return D > 0 ? D : model_.d; }
    const double* effect(int t) const { return rows_.column(static_cast<int>(model_.columns[t])); }
    const std::int32_t* local(int j) const { return outside_.local + (start_ + j) * outside_.width; }
    const double* slopes(int j) const { return outside_.slopes + (start_ + j) * outside_.width; }
    // Rows' first and second derivatives from one pass to others at the same place; those after them are padding.
    void keep() {
        if (!in_.kept) return;
        double *G = in_.kept + start_, *H = in_.kept + problem_.rows + start_;
        if (!in_.known) {
            std::copy_n(rows_.G.data(), rows_.n, G), std::copy_n(rows_.H.data(), rows_.n, H);
            return;
        }
        std::copy_n(G, rows_.n, rows_.G.data()), std::copy_n(H, rows_.n, rows_.H.data());
    }
    // S^-1 g.
    CLUSTERGLM_INLINE void solve(const double* g, double* x) const {
        double half[kMostEffects];
        for (int r = 0; r < d(); ++r) {
            half[r] = 0.0;
            for (int s = 0; s <= r; ++s) half[r] += rows_.F[s][r] * g[s];
        }
        for (int t = 0; t < d(); ++t) {
            x[t] = 0.0;
            for (int r = t; r < d(); ++r) x[t] += rows_.F[t][r] * half[r];
        }
    }
    double& at(std::vector<double>& x, int t, int a) { return x[static_cast<std::size_t>(t) * stride_ + a]; }

    // C and S^-1 C.
    void couple() {
        C_.assign(static_cast<std::size_t>(d()) * stride_, 0.0), SC_.assign(C_.size(), 0.0);
        for (int j = 0; j < rows_.n; ++j)
            for (int t = 0; t < d(); ++t) {
                const double by = -rows_.H[j] * rows_.effect(t)[j];
                for (int w = 0; w < outside_.width; ++w) at(C_, t, local(j)[w]) += by * slopes(j)[w];
            }
        double g[kMostEffects], x[kMostEffects];
        for (int a = 0; a < count_; ++a) {
            for (int t = 0; t < d(); ++t) g[t] = at(C_, t, a);
            solve(g, x);
            for (int t = 0; t < d(); ++t) at(SC_, t, a) = x[t];
        }
    }

    // What second derivatives are made of: C, S^-1 C, and of one effect a row what its rows add to the diagonal, of more effects H.
    void add_curvature(double weight, double* to) {
        const std::size_t size = static_cast<std::size_t>(d()) * stride_;
        for (std::size_t k = 0; k < size; ++k) to[k] = weight * C_[k], to[size + k] = SC_[k];
        double* last = to + 2 * size;
        if (outside_.width > 1) {
            for (int j = 0; j < rows_.n; ++j) last[j] = weight * rows_.H[j];
            return;
        }
        std::fill_n(last, stride_, 0.0);
        for (int j = 0; j < rows_.n; ++j) last[*local(j)] += weight * rows_.H[j] * *slopes(j) * *slopes(j);
    }

    void contract(std::int64_t unit, double weight, const double* u, const CrossedOutputs& out, double* entries) {
        const double* P = touched_.of(outside_, unit, in_.matrices).data();
        checkpoint(static_cast<std::int64_t>(count_) * count_ / 4);
        X_.assign(C_.size(), 0.0);
        for (int t = 0; t < d(); ++t) {
            const double* by = &SC_[static_cast<std::size_t>(t) * stride_];
            for (int b = 0; b < stride_; b += kLanes) {
                Pack sums[2] = {};
                for (int a = 0; a < count_; ++a) sums[a % 2] -= by[a] * load(P + static_cast<std::size_t>(a) * stride_ + b);
                store(&X_[static_cast<std::size_t>(t) * stride_ + b], sums[0] + sums[1]);
            }
        }
        double inverse[kMostEffects][kMostEffects];
        for (int t = 0; t < d(); ++t)
            for (int s = 0; s < d(); ++s) {
                inverse[t][s] = 0.0;
                for (int r = 0; r < d(); ++r) inverse[t][s] += rows_.F[t][r] * rows_.F[s][r];
                for (int a = 0; a < count_; ++a) inverse[t][s] -= at(X_, t, a) * at(SC_, s, a);
            }
        // Of each row: half of I times its leverage, and the joint inverse times its slopes.
        double pull[kMostEffects] = {}, solved[kMostEffects], own[kMostEffects];
        double sums[kMostEffects][kMostEffects] = {}, moments[kMostEffects] = {};
        for (int j = 0; j < rows_.n; ++j) {
            const std::int32_t* to = local(j);
            const double* b = slopes(j);
            double leverage = 0.0;
            for (int t = 0; t < d(); ++t) {
                own[t] = 0.0;
                for (int s = 0; s < d(); ++s) own[t] += inverse[t][s] * rows_.effect(s)[j];
                for (int w = 0; w < outside_.width; ++w) own[t] += at(X_, t, to[w]) * b[w];
                leverage += rows_.effect(t)[j] * own[t];
            }
            for (int w = 0; w < outside_.width; ++w) {
                double across = 0.0;
                for (int t = 0; t < d(); ++t) across += at(X_, t, to[w]) * rows_.effect(t)[j];
                for (int x = 0; x < outside_.width; ++x) across += P[static_cast<std::size_t>(to[w]) * stride_ + to[x]] * b[x];
                leverage += b[w] * across;
                out.direct[(start_ + j) * outside_.width + w] = weight * rows_.H[j] * across;
            }
            const double kappa = 0.5 * rows_.I[j] * leverage;
            out.rows[start_ + j] = weight * kappa;
            out.first[start_ + j] = weight * rows_.G[j];
            for (int t = 0; t < d(); ++t) {
                pull[t] += kappa * rows_.effect(t)[j], moments[t] += kappa * effect(t)[j];
                for (int s = 0; s < d(); ++s) sums[t][s] += rows_.H[j] * effect(t)[j] * own[s];
            }
        }
        solve(pull, solved);
        for (int j = 0; j < rows_.n; ++j) {
            double along = 0.0;
            for (int t = 0; t < d(); ++t) along += rows_.effect(t)[j] * solved[t];
            out.pulls[start_ + j] = out.rows[start_ + j] + weight * rows_.H[j] * along;
        }
        for (int e = 0; e < model_.entries; ++e)
            entries[e] = weight * (moments[model_.row[e]] * u[model_.col[e]] + sums[model_.row[e]][model_.col[e]]);
        for (int t = 0; t < d() && out.means; ++t) {
            out.means[unit * d() + t] = u[t], out.bends[unit * d() + t] = solved[t];
            for (int s = 0; s < d(); ++s) {
                double& own = out.covariances[(unit * d() + t) * d() + s];
                own = 0.0;
                for (int r = 0; r < d(); ++r) own += rows_.F[t][r] * rows_.F[s][r];
                out.spreads[(unit * d() + t) * d() + s] = inverse[t][s] - own;
            }
            for (int a = 0; a < count_; ++a) out.follows[(outside_.starts[unit] + a) * d() + t] = -at(SC_, t, a);
        }
    }

    // The unit's part of the solution first, and then as everywhere.
    void along(double weight, const double* u, double* rows, double* entries) {
        double pull[kMostEffects] = {}, move[kMostEffects];
        const double *eta = in_.direction + start_, *kappa = in_.kappa + start_;
        for (int j = 0; j < rows_.n; ++j)
            for (int t = 0; t < d(); ++t) pull[t] += rows_.effect(t)[j] * ((weight > 0.0 ? kappa[j] / weight : 0.0) + rows_.H[j] * eta[j]);
        solve(pull, move);
        double sums[kMostEffects] = {}, slopes_of[kMostEffects] = {};
        for (int j = 0; j < rows_.n; ++j) {
            double change = eta[j];
            for (int t = 0; t < d(); ++t) change += rows_.effect(t)[j] * move[t];
            rows[start_ + j] = weight * rows_.H[j] * change;
            for (int t = 0; t < d(); ++t) sums[t] += effect(t)[j] * rows_.H[j] * change, slopes_of[t] += effect(t)[j] * rows_.G[j];
        }
        for (int e = 0; e < model_.entries; ++e)
            entries[e] = weight * (sums[model_.row[e]] * u[model_.col[e]] + slopes_of[model_.row[e]] * move[model_.col[e]]);
    }
};

}  // namespace clusterglm
