// Four clusters at once, score and Hessian in psi = (eta_1..eta_n, sigma). Every pack below holds the same thing of four clusters.
// J: how many numbers of its own the kernel has.
#pragma once
#include <cstddef>
#include <vector>

#include "marginal.hpp"
#include "own.hpp"

namespace clusterglm {

template <class Map, int J>
class Psi {
   public:
    Psi(const InterceptLoops& kernel, const Map& map, const Rule& rule, const Problem& problem)
        : integral(kernel, map, rule, problem.unit), own(problem), count_(own.count) {
        integral.own = count_;
    }

    Integral<Map, Pack> integral;  // its rows are the caller's to fill
    OwnRows<J, Pack> own;          // and which of them have which parameters of the response's own

    // A value alone costs little less than a score, and has no code of its own.
    CLUSTERGLM_INLINE void evaluate(Pack start, int order) {
        if (order > 1) evaluate<2>(start);
        else evaluate<1>(start);
    }

    // Of the rows, the response's own parameters, and sigma.
    const double* score() const { return z_.score; }
    // The Hessian's rows, one after another, whole.
    const double* hessian() const { return matrix_.data(); }

   private:
    const int count_;  // parameters of the response's own
    Vectors z_;
    std::vector<double> pi_G_, matrix_;
    std::vector<double> own_Gg_, own_gg_;  // at nodes, summed over rows

    int own_count() const {
        if constexpr (J > 0) return count_;
        else return 0;
    }
    // A section of the rows' own derivatives at nodes: g and Gg of each number, gg of each pair of them.
    const double* section(int which) const { return integral.H.data() + static_cast<std::size_t>(which) * integral.rows.n * integral.nodes.size; }

    const double* own_G_g(int c) const { return section(1 + J + own.columns.number(c)); }
    double* own_gg(int c, int d) { return own_gg_.data() + static_cast<std::size_t>(own_pair(c, d)) * integral.nodes.size; }

    // Sums over rows of their own derivatives at nodes; those of g lie behind the rows' G.
    template <int Order>
    CLUSTERGLM_INLINE void sum_own() {
        const int n = integral.rows.n, size = integral.nodes.size;
        const std::size_t cells = static_cast<std::size_t>(count_) * size, pairs = static_cast<std::size_t>(own_pairs(count_)) * size;
        if (own_Gg_.size() < cells) own_Gg_.resize(cells);
        if (own_gg_.size() < pairs) own_gg_.resize(pairs);
        double* G = integral.G.data() + static_cast<std::size_t>(n) * size;
        for (int c = 0; c < count_; ++c) {
            const double *of_g = section(1 + own.columns.number(c)), *of_Gg = own_G_g(c), *of_gg = section(1 + 2 * J + own.pair(c, c));
            double* square = own_gg(c, c);
            for (int k = 0; k < size; k += kLanes) {
                Pack g{}, Gg{}, gg{};
                for (int j = 0; j < n; ++j) {
                    const Pack w = own.weight(j, c);
                    const int at = j * size + k;
                    g += w * load(of_g + at);
                    if constexpr (Order > 1) Gg += w * load(of_Gg + at), gg += w * w * load(of_gg + at);
                }
                store(G + c * size + k, g);
                if constexpr (Order > 1) store(&own_Gg_[c * size + k], Gg), store(square + k, gg);
            }
        }
        if (Order < 2 || !own.columns.shared()) return;
        for (int c = 0; c < count_; ++c)
            for (int d = 0; d < c; ++d) {
                const double* of_gg = section(1 + 2 * J + own.pair(c, d));
                double* to = own_gg(c, d);
                for (int k = 0; k < size; k += kLanes) {
                    Pack gg{};
                    for (int j = 0; j < n; ++j) gg += own.weight(j, c) * own.weight(j, d) * load(of_gg + j * size + k);
                    store(to + k, gg);
                }
            }
    }

    template <int Order>
    CLUSTERGLM_INLINE void evaluate(Pack start) {
        if (integral.moves) run<true, Order>(start);
        else run<false, Order>(start);
    }

    template <bool Moves, int Order>
    CLUSTERGLM_INLINE void run(Pack start) {
        if (integral.follows) integral.loops.place_nodes[Moves ? Order : 0](integral, start);
        integral.loops.add_rows[Order](integral, 0, integral.rows.n);
        integral.template finish<Moves, Order>();
        if constexpr (J > 0) {
            sum_own<Order>();
            if constexpr (Moves) own.find(integral.loops.own_at_mode, integral.rows, integral.mode.at.m);
        }
        if constexpr (Order == 1) only_score<Moves>();
        if constexpr (Order == 2) derivatives<Moves>();
    }

    template <bool Moves>
    CLUSTERGLM_INLINE void only_score() {
        const Nodes& nodes = integral.nodes;
        const Rows<Pack>& rows = integral.rows;
        const NodeMoments<Pack>& nm = integral.moments;
        const int n = rows.n, both = n + own_count(), at_sigma = both * kLanes;
        z_.resize(at_sigma + kLanes);
        double* mean = Moves ? z_.mean : z_.score;
        for (int j = 0; j < both; ++j) store(mean + j * kLanes, row_mean<Pack>(nodes, integral.rows_G() + j * nodes.size));
        store(mean + at_sigma, nm.mean_sigma);
        if constexpr (Moves) {
            const ModeCoefficients<Map, Pack> mc(integral.mode, nm);
            for (int at = 0; at < n * kLanes; at += kLanes) {
                const Pack h = load(&rows.H[at]);
                store(z_.s_t + at, mc.s_t_H * h);
                store(z_.g_sst + at, mc.sst_H * h + mc.sst_I * load(&rows.I[at]));
            }
            for (int j = n; J > 0 && j < both; ++j) {
                const OwnCurve<Pack> d = own.summed(n, j - n);
                store(z_.s_t + j * kLanes, mc.s_t_H * d.Gg);
                store(z_.g_sst + j * kLanes, mc.sst_H * d.Gg + mc.sst_I * d.Hg);
            }
            store(z_.s_t + at_sigma, mc.s_t), store(z_.g_sst + at_sigma, mc.g_sst);
            combine_score(z_, integral.mode, nm);
        }
    }

    // The sum over nodes of pi G_j times each G_L, L <= j: added where L = j, set elsewhere.
    CLUSTERGLM_INLINE void add_node_products(double* row, const double* pi_G, const double* G, int j) const {
        const Nodes& nodes = integral.nodes;
        const Pack diagonal = load(row + j * kLanes);
        const auto some = [&]<int Count>(int L) CLUSTERGLM_INLINE_LAMBDA {  // sums that do not wait for one another
            Pack sum[Count]{};
            const double* right = G + L * nodes.size;
            nodes.each_weighty([&](int k) CLUSTERGLM_INLINE_LAMBDA {
                const Pack left = load(pi_G + k);
                for (int i = 0; i < Count; ++i) sum[i] += left * load(right + i * nodes.size + k);
            });
            for (int i = 0; i < Count; ++i) store(row + (L + i) * kLanes, sum[i]);
        };
        int L = 0;
        for (; L + 4 <= j + 1; L += 4) some.template operator()<4>(L);
        if (j + 1 - L >= 2) some.template operator()<2>(L), L += 2;
        if (j + 1 - L == 1) some.template operator()<1>(L);
        store(row + j * kLanes, load(row + j * kLanes) + diagonal);
    }

    // What row j of the coordinates has, one of the response's own, before products of derivatives.
    template <bool Moves>
    CLUSTERGLM_INLINE void own_derivatives(int j, const ModeCoefficients<Map, Pack>& mc, double* pi_G, double* row, double* last) {
        const Nodes& nodes = integral.nodes;
        const int n = integral.rows.n, c = j - n, at = j * kLanes, size = nodes.size;
        const auto rm = row_moments<Moves, true, Pack>(nodes, integral.map, integral.rows_G() + j * size, &own_Gg_[c * size], pi_G);
        Pack diagonal = row_mean<Pack>(nodes, own_gg(c, c)), cross = rm.sigma;
        if constexpr (Moves) {
            const OwnCurve<Pack> d = own.summed(n, c);
            const OwnBend<Pack> twice = own.summed(n, c, c);
            store(z_.s_t + at, mc.s_t_H * d.Gg);
            store(z_.g_sst + at, mc.sst_H * d.Gg + mc.sst_I * d.Hg);
            store(z_.g_ssst + at, mc.ssst_H * d.Gg + mc.ssst_I * d.Hg + mc.ssst_K * d.Ig);
            store(z_.P0 + at, rm.P0), store(z_.P1 + at, rm.P1);
            diagonal += mc.diagonal_I * twice.Ggg + mc.diagonal_K * twice.Hgg;
            cross += mc.sigma_H * d.Gg + mc.sigma_I * d.Hg + mc.sigma_K * d.Ig;
        }
        store(z_.mean + at, rm.mean);
        store(row + at, diagonal);
        store(last + at, cross);
    }

    // Second derivatives in parameter c and each linear predictor, and in c and each parameter before it, added to the Hessian's row.
    template <bool Moves>
    CLUSTERGLM_INLINE void add_crosses(int c, const ModeCoefficients<Map, Pack>& mc, double* row) {
        const int n = integral.rows.n, size = integral.nodes.size;
        for (int j = 0; j < n; ++j) {
            Pack cross = row_mean<Pack>(integral.nodes, own_G_g(c) + j * size);
            if constexpr (Moves) {
                const OwnCurve<Pack> d = own.curve(j, own.columns.number(c));
                cross += mc.diagonal_I * d.Hg + mc.diagonal_K * d.Ig;
            }
            store(row + j * kLanes, load(row + j * kLanes) + own.weight(j, c) * cross);
        }
        if (!own.columns.shared()) return;
        for (int d = 0; d < c; ++d) {
            Pack cross = row_mean<Pack>(integral.nodes, own_gg(c, d));
            if constexpr (Moves) {
                const OwnBend<Pack> both = own.summed(n, c, d);
                cross += mc.diagonal_I * both.Ggg + mc.diagonal_K * both.Hgg;
            }
            store(row + (n + d) * kLanes, load(row + (n + d) * kLanes) + cross);
        }
    }

    template <bool Moves>
    CLUSTERGLM_INLINE void derivatives() {
        const Nodes& nodes = integral.nodes;
        const Rows<Pack>& rows = integral.rows;
        const NodeMoments<Pack>& nm = integral.moments;
        const int n = rows.n, both = n + own_count(), N = both + 1, size = nodes.size, width = N * kLanes;
        z_.resize(width);
        if (pi_G_.size() < static_cast<std::size_t>(both) * size) pi_G_.resize(static_cast<std::size_t>(both) * size);
        if (matrix_.size() < static_cast<std::size_t>(N) * width) matrix_.resize(static_cast<std::size_t>(N) * width);
        const double *G = integral.rows_G(), *H = integral.rows_H();
        double *M = matrix_.data(), *pi_G = pi_G_.data(), *last = M + both * width;
        const Vectors& z = z_;

        const ModeCoefficients<Map, Pack> mc(integral.mode, nm);
        for (int j = 0; j < n; ++j) {
            const int at = j * kLanes;
            const auto rm = row_moments<Moves, true, Pack>(nodes, integral.map, G + j * size, H + j * size, pi_G + j * size);
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
        if constexpr (J > 0)
            for (int j = n; j < both; ++j) own_derivatives<Moves>(j, mc, pi_G + j * size, M + j * width, last);
        const int at = both * kLanes;
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

        for (int j = 0; j < N; ++j) {
            double* row = M + j * width;
            const int at_j = j * kLanes;
            const Pack s_j = load(z.s_t + at_j), x1_j = load(z.x1 + at_j), D_j = load(z.D + at_j), x2_j = load(z.x2 + at_j), dq_j = load(z.P0 + at_j);
            if (j < both) add_node_products(row, pi_G + j * size, G, j);
            if constexpr (J > 0)
                if (j >= n && j < both) add_crosses<Moves>(j - n, mc, row);
            for (int L = 0; L <= at_j; L += kLanes) {
                Pack sum = load(row + L) - dq_j * load(z.P0 + L);
                if constexpr (Moves) sum += s_j * load(z.x1 + L) + x1_j * load(z.s_t + L) + D_j * load(z.x2 + L) + x2_j * load(z.D + L);
                store(row + L, sum);
                store(M + L * N + at_j, sum);
            }
        }
    }
};

}  // namespace clusterglm
