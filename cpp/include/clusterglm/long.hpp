// Clusters of many rows, one at a time and in chunks, with derivatives in theta = (beta, sigma).
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "blocks.hpp"
#include "marginal.hpp"
#include "own.hpp"

namespace clusterglm {

template <int J>
class LongClusters {
   public:
    LongClusters(const InterceptLoops& kernel, const Problem& problem, const AnyMap& map, const Rule& rule, const double* theta, int order)
        : problem_(problem), beta_(theta), order_(order), p_(problem.p), both_(p_ + (J > 0 ? problem.own : 0)), q_(both_ + 1),
          stride_(padded(q_)), integral_(kernel, map, rule, problem.unit), own_(problem) {
        z_.resize(q_);
    }

    CLUSTERGLM_INLINE void add(std::int64_t i, double* modes, Sum& sum, const PerCluster& out) {
        load_cluster(integral_.rows, problem_, i, beta_);
        integral_.rows.finish();
        if constexpr (J > 0) own_.resize(integral_.rows.n);
        if (integral_.moves) run<true>(i, modes, sum, out);
        else run<false>(i, modes, sum, out);
    }

   private:
    const Problem& problem_;
    const double* beta_;
    int order_, p_, both_, q_, stride_;  // coefficients; with the response's own; and sigma
    Integral<AnyMap, double> integral_;
    OwnRows<J, double> own_;
    Vectors z_;
    std::vector<double> node_gradients_, pi_G_;

    static constexpr int kChunk = 256;  // rows worked on at a time

    const double* x(std::int64_t row) const { return problem_.X + row * p_; }

    // A section of own derivatives at nodes, of `rows` rows: g and Gg of each number, gg of each pair of them.
    const double* section(int which, int rows) const { return integral_.H.data() + static_cast<std::size_t>(which) * rows * integral_.nodes.size; }

    template <bool Moves>
    CLUSTERGLM_INLINE void run(std::int64_t i, double* modes, Sum& sum, const PerCluster& out) {
        const int n = integral_.rows.n;
        if (integral_.follows) integral_.loops.place_nodes[Moves ? 2 : 0](integral_, modes[i]);
        if (order_ == 0) {
            integral_.loops.add_rows[0](integral_, 0, n);
        } else {
            node_gradients_.assign(static_cast<std::size_t>(both_) * integral_.nodes.size, 0.0);
            for (int first = 0; first < n; first += kChunk) {
                const int last = std::min(first + kChunk, n);
                integral_.loops.add_rows[2](integral_, first, last);
                add_node_gradients(i, first, last);
            }
        }
        if (order_ > 0) integral_.template finish<Moves, 2>();
        else integral_.template finish<Moves, 0>();
        const double weight = problem_.cluster_weights[i], value = integral_.moments.value;
        sum.value += weight * value;
        integral_.write(&i, 1, weight * value, modes, out);
        if (order_ > 0) derivatives<Moves>(i, weight, sum, out.scores ? out.scores + i * q_ : nullptr);
    }

    // Gradient of the log-integrand in beta and the response's own parameters at every node, a row of `size` nodes for each.
    CLUSTERGLM_INLINE void add_node_gradients(std::int64_t i, int first, int last) {
        const int size = integral_.nodes.size;
        for (int j = first; j < last; ++j) {
            const double *xj = x(problem_.starts[i] + j), *G = &integral_.G[static_cast<std::size_t>(j - first) * size];
            for (int r = 0; r < p_; ++r) {
                double* to = &node_gradients_[static_cast<std::size_t>(r) * size];
                for (int k = 0; k < size; k += kLanes) store(to + k, load(to + k) + xj[r] * load(G + k));
            }
            if constexpr (J > 0)
                own_.columns.each(problem_.starts[i] + j, [&](int c, double z) CLUSTERGLM_INLINE_LAMBDA {
                    const double* g = section(1 + own_.columns.number(c), last - first) + static_cast<std::size_t>(j - first) * size;
                    double* to = &node_gradients_[static_cast<std::size_t>(p_ + c) * size];
                    for (int k = 0; k < size; k += kLanes) store(to + k, load(to + k) + z * load(g + k));
                });
        }
    }

    // What row j adds to the response's own parameters; `at` is where it lies among the chunk's `rows` rows.
    template <bool Moves>
    CLUSTERGLM_INLINE void add_own(std::int64_t row, int j, int rows, std::size_t at, const double* xj, double weight,
                                   const ModeCoefficients<AnyMap, double>& mc, double* hessian) {
        const Nodes& nodes = integral_.nodes;
        const OwnColumns& columns = own_.columns;
        columns.each(row, [&](int c, double z) CLUSTERGLM_INLINE_LAMBDA {
            const int r = p_ + c, number = columns.number(c);
            const auto rm =
                row_moments<Moves, false, double>(nodes, integral_.map, section(1 + number, rows) + at, section(1 + J + number, rows) + at, pi_G_.data());
            double cross = rm.diagonal, sigma = rm.sigma;
            z_.mean[r] += z * rm.mean;
            if constexpr (Moves) {
                const OwnCurve<double> d = own_.curve(j, number);
                z_.s_t[r] += z * (mc.s_t_H * d.Gg), z_.g_sst[r] += z * (mc.sst_H * d.Gg + mc.sst_I * d.Hg);
                z_.g_ssst[r] += z * (mc.ssst_H * d.Gg + mc.ssst_I * d.Hg + mc.ssst_K * d.Ig);
                z_.P0[r] += z * rm.P0, z_.P1[r] += z * rm.P1;
                cross += mc.diagonal_I * d.Hg + mc.diagonal_K * d.Ig;
                sigma += mc.sigma_H * d.Gg + mc.sigma_I * d.Hg + mc.sigma_K * d.Ig;
            }
            if (order_ < 2) return;
            hessian[both_ * stride_ + r] += weight * z * sigma;
            for (int s = 0; s < p_; ++s) hessian[r * stride_ + s] += weight * z * cross * xj[s];
            columns.each(row, [&](int d, double y) CLUSTERGLM_INLINE_LAMBDA {
                if (d > c) return;
                const int pair = own_.pair(c, d);
                double square = row_mean<double>(nodes, section(1 + 2 * J + pair, rows) + at);
                if constexpr (Moves) {
                    const OwnBend<double> twice = own_.bend(j, pair);
                    square += mc.diagonal_I * twice.Ggg + mc.diagonal_K * twice.Hgg;
                }
                hessian[r * stride_ + p_ + d] += weight * z * y * square;
            });
        });
    }

    template <bool Moves>
    CLUSTERGLM_INLINE void derivatives(std::int64_t i, double weight, Sum& sum, double* score_out) {
        const Nodes& nodes = integral_.nodes;
        const Rows<double>& rows = integral_.rows;
        const NodeMoments<double>& nm = integral_.moments;
        const int n = rows.n, size = nodes.size;
        const ModeCoefficients<AnyMap, double> mc(integral_.mode, nm);
        const std::int64_t start = problem_.starts[i];
        std::fill(z_.memory.begin(), z_.memory.end(), 0.0);
        pi_G_.resize(size);
        double *hessian = sum.hessian.data(), *last = hessian + both_ * stride_;
        if constexpr (J > 0 && Moves) own_.find(integral_.loops.own_at_mode, rows, integral_.mode.at.m);
        for (int first = 0; first < n; first += kChunk) {
            const int end = std::min(first + kChunk, n);
            if (n > kChunk) integral_.loops.repeat_rows(integral_, first, end);  // node sums are complete; this only brings back the chunk's own terms
            for (int j = first; j < end; ++j) {
                const std::size_t at = static_cast<std::size_t>(j - first) * size;
                const auto rm = row_moments<Moves, false, double>(nodes, integral_.map, &integral_.G[at], &integral_.H[at], pi_G_.data());
                const double* xj = x(start + j);
                double diagonal = rm.diagonal, cross = rm.sigma;
                if constexpr (Moves) {
                    const double H = rows.H[j], I = rows.I[j], K = rows.K[j];
                    diagonal += mc.diagonal_I * I + mc.diagonal_K * K;
                    cross += mc.sigma_H * H + mc.sigma_I * I + mc.sigma_K * K;
                    const double s_t = mc.s_t_H * H, sst = mc.sst_H * H + mc.sst_I * I, ssst = mc.ssst_H * H + mc.ssst_I * I + mc.ssst_K * K;
                    for (int r = 0; r < p_; ++r) {
                        z_.s_t[r] += s_t * xj[r], z_.g_sst[r] += sst * xj[r], z_.g_ssst[r] += ssst * xj[r];
                        z_.P0[r] += rm.P0 * xj[r], z_.P1[r] += rm.P1 * xj[r];
                    }
                }
                for (int r = 0; r < p_; ++r) z_.mean[r] += rm.mean * xj[r];
                if constexpr (J > 0) add_own<Moves>(start + j, j, end - first, at, xj, weight, mc, hessian);
                if (order_ < 2) continue;
                for (int r = 0; r < p_; ++r) {
                    const double xr = weight * diagonal * xj[r];
                    for (int s = 0; s <= r; ++s) hessian[r * stride_ + s] += xr * xj[s];
                    last[r] += weight * cross * xj[r];
                }
            }
        }
        z_.mean[both_] = nm.mean_sigma;
        if constexpr (Moves) {
            z_.s_t[both_] = mc.s_t, z_.g_sst[both_] = mc.g_sst, z_.g_ssst[both_] = mc.g_ssst, z_.P0[both_] = nm.P0_sigma, z_.P1[both_] = nm.P1_sigma;
            combine(z_, integral_.mode, nm);
        } else {
            for (int r = 0; r < q_; ++r) z_.score[r] = z_.P0[r] = z_.mean[r];
        }
        for (int r = 0; r < q_; ++r) {
            sum.score[r] += weight * z_.score[r];
            if (score_out) score_out[r] = weight * z_.score[r];
        }
        if (order_ < 2) return;
        const auto gradient = [&](int r) { return r < both_ ? &node_gradients_[static_cast<std::size_t>(r) * size] : nodes.rS1; };
        for (int r = 0; r < q_; ++r) {
            const double* gr = gradient(r);
            for (int s = 0; s <= r; ++s) {
                double total = 0.0;
                if (s < both_) {  // the entry of sigma with itself is in outer_sigma
                    const double* gs = gradient(s);
                    Pack dot{};
                    nodes.each_weighty([&](int k) CLUSTERGLM_INLINE_LAMBDA { dot += load(nodes.pi + k) * load(gr + k) * load(gs + k); });
                    total = reduce(dot);
                } else {
                    total = nm.outer_sigma + (Moves ? mc.sigma_sigma : 0.0);
                }
                total -= z_.P0[r] * z_.P0[s];
                if constexpr (Moves) total += z_.s_t[r] * z_.x1[s] + z_.x1[r] * z_.s_t[s] + z_.D[r] * z_.x2[s] + z_.x2[r] * z_.D[s];
                hessian[r * stride_ + s] += weight * total;
            }
        }
    }
};

}  // namespace clusterglm
