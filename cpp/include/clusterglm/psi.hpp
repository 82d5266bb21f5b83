// Four clusters at once, score and Hessian in psi = (eta_1..eta_n, sigma). Every pack below holds the same thing of four clusters.
#pragma once
#include <cstddef>
#include <vector>

#include "marginal.hpp"

namespace clusterglm {

template <class R>
class Psi {
   public:
    Psi(const LocationMap& map, const Rule& rule, double sigma, bool unit) : integral(map, rule, sigma, unit) {}

    Integral<R, Pack> integral;  // its rows are the caller's to fill

    CLUSTERGLM_INLINE void evaluate(Pack start, int order) {
        if (integral.moves) run<true>(start, order);
        else run<false>(start, order);
    }

    const double* score() const { return z_.score; }  // n + 1 packs
    // Its n + 1 rows, one after another, whole.
    const double* hessian() const { return matrix_.data(); }

   private:
    Vectors z_;
    std::vector<double> pi_G_, matrix_;

    template <bool Moves>
    CLUSTERGLM_INLINE void run(Pack start, int order) {
        const int n = integral.rows.n;
        integral.place_nodes(start);
        integral.clear();
        if (order == 0) integral.template add_rows<false>(0, n);
        else integral.template add_rows<true>(0, n);
        integral.template finish<Moves>(order);
        if (order > 0) derivatives<Moves>(order);
    }

    template <bool Moves>
    CLUSTERGLM_INLINE void derivatives(int order) {
        const Nodes& nodes = integral.nodes;
        const Rows<Pack>& rows = integral.rows;
        const NodeMoments<Pack>& nm = integral.moments;
        const int n = rows.n, N = n + 1, size = nodes.size, width = N * kLanes;
        z_.resize(width);
        if (pi_G_.size() < static_cast<std::size_t>(n) * size) pi_G_.resize(static_cast<std::size_t>(n) * size);
        if (matrix_.size() < static_cast<std::size_t>(N) * width) matrix_.resize(static_cast<std::size_t>(N) * width);
        const double *G = integral.G.data(), *H = integral.H.data();
        double *M = matrix_.data(), *pi_G = pi_G_.data(), *last = M + n * width;
        const Vectors& z = z_;

        const ModeCoefficients<Pack> mc(integral.mode, nm);
        for (int j = 0; j < n; ++j) {
            const int at = j * kLanes;
            const auto rm = row_moments<Moves, true, Pack>(nodes, G + j * size, H + j * size, pi_G + j * size);
            Pack diagonal = rm.diagonal, cross = rm.sigma;
            if constexpr (Moves) {
                const Pack h = load(&rows.H[at]), i = load(&rows.I[at]), k = load(&rows.K[at]);
                store(z.s_t + at, mc.s_t_H * h);
                store(z.g_sst + at, mc.sst_H * h + mc.sst_I * i);
                store(z.g_ssst + at, mc.ssst_H * h + mc.ssst_I * i + mc.ssst_K * k);
                store(z.P0 + at, rm.P0), store(z.P1 + at, rm.P1);
                diagonal += mc.diagonal_I * i + mc.diagonal_K * k;
                cross += mc.sigma_H * h + mc.sigma_I * i + mc.sigma_K * k;
            }
            store(z.mean + at, rm.mean);
            store(M + j * width + at, diagonal);
            store(last + at, cross);
        }
        const int at = n * kLanes;
        store(z.mean + at, nm.mean_sigma);
        store(last + at, nm.outer_sigma);
        if constexpr (Moves) {
            store(z.s_t + at, mc.s_t), store(z.g_sst + at, mc.g_sst), store(z.g_ssst + at, mc.g_ssst);
            store(z.P0 + at, nm.P0_sigma), store(z.P1 + at, nm.P1_sigma);
            store(last + at, nm.outer_sigma + mc.sigma_sigma);
            combine(z_, integral.mode, nm);
        } else {
            for (int i = 0; i < width; i += kLanes) store(z.score + i, load(z.mean + i)), store(z.P0 + i, load(z.mean + i));
        }
        if (order < 2) return;

        for (int j = 0; j < N; ++j) {
            double* row = M + j * width;
            const int J = j * kLanes;
            const Pack s_j = load(z.s_t + J), x1_j = load(z.x1 + J), D_j = load(z.D + J), x2_j = load(z.x2 + J), dq_j = load(z.P0 + J);
            for (int L = 0; L <= J; L += kLanes) {
                Pack sum = (j == n || L == J ? load(row + L) : Pack{}) - dq_j * load(z.P0 + L);
                if constexpr (Moves) sum += s_j * load(z.x1 + L) + x1_j * load(z.s_t + L) + D_j * load(z.x2 + L) + x2_j * load(z.D + L);
                if (j < n) {
                    const double *left = pi_G + j * size, *right = G + L / kLanes * size;
                    nodes.each_weighty([&](int k) CLUSTERGLM_INLINE_LAMBDA { sum += load(left + k) * load(right + k); });
                }
                store(row + L, sum);
                store(M + L * N + J, sum);
            }
        }
    }
};

}  // namespace clusterglm
