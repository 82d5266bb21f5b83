// The marginal log-likelihood of many clusters: one Evaluator per thread works through clusters and adds up.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "blocks.hpp"
#include "gram.hpp"
#include "marginal.hpp"

namespace clusterglm {

// Optional results per cluster; null where not wanted.
struct PerCluster {
    double* values = nullptr;      // clusters: weighted log-likelihood
    double* scores = nullptr;      // clusters x q: its score
    double* posterior = nullptr;   // clusters x 3: mean and standard deviation of the intercept, weight of the outermost nodes
};

template <class R>
class Evaluator {
   public:
    Evaluator(const Problem& problem, const LocationMap& map, const Rule& rule, const double* theta, int order)
        : problem_(problem), map_(map), rule_(rule), beta_(theta), sigma_(theta[problem.p]), order_(order), p_(problem.p), q_(problem.p + 1),
          stride_(padded(q_)), nodes_(rule.size()), theta_(stride_), x_mean_(stride_) {
        if (rule.adaptive && !map.log_concave()) {
            scan_ = std::make_unique<Scan>();
            scan_->prepare(map, sigma_);
        }
        if (!rule.adaptive) {
            std::copy(rule.c.begin(), rule.c.end(), nodes_.s);
            nodes_.locate(map, sigma_);
        }
    }

    // Adds cluster i to sum; `mode` is where its mode search starts and is left where it ended.
    CLUSTERGLM_INLINE void cluster(std::int64_t i, double& mode, Sum& sum, const PerCluster& out) {
        if constexpr (R::kCollapses) {
            load_collapsed(i);
        } else {
            rows_.load(problem_, i, beta_);
            rows_.finish();
        }
        if (rule_.adaptive) run<true>(i, mode, sum, out);
        else run<false>(i, mode, sum, out);
    }

   private:
    const Problem& problem_;
    const LocationMap& map_;
    const Rule& rule_;
    const double* beta_;
    double sigma_;
    int order_, p_, q_, stride_;
    Nodes nodes_;
    std::unique_ptr<Scan> scan_;
    ClusterRows rows_;
    Mode mode_{};
    Vectors z_;
    std::vector<double> G_, H_, pi_G_, matrix_, x_, row_, theta_, node_gradients_, weights_, x_mean_;
    double linear_ = 0.0;

    static constexpr int kChunk = 256;  // rows of a long cluster worked on at a time

    static void ensure(std::vector<double>& v, std::size_t size) {
        if (v.size() < size) v.resize(size);
    }

    const double* x(std::int64_t row) const { return problem_.X + row * p_; }

    // Operations of the two spaces, roughly; short clusters are cheaper in psi.
    bool short_cluster() const {
        const double n = rows_.n, p = p_, K = rule_.size();
        return n <= 64 && 0.5 * n * n * (K + 10 + 2 * p) + 0.5 * n * p * p <= n * p * (K + 8 + 0.5 * p) + q_ * q_ * (0.5 * K + 5);
    }

    template <bool Adaptive>
    CLUSTERGLM_INLINE void run(std::int64_t i, double& start, Sum& sum, const PerCluster& out) {
        double omega = 0.0;
        if constexpr (Adaptive) omega = place_nodes(start);
        const int n = rows_.n, size = nodes_.size;
        const bool in_psi = R::kCollapses || short_cluster(), whole = in_psi || n <= kChunk;
        for (int k = 0; k < size; ++k) nodes_.q[k] = rule_.log_weight[k] + nodes_.a[k], nodes_.S1[k] = nodes_.S2[k] = 0.0;
        if (order_ == 0) {
            all_nodes<R, false>(rows_, 0, n, unit(), nodes_, nodes_.q, nullptr, nullptr);
        } else if (whole) {
            ensure(G_, static_cast<std::size_t>(n) * size);
            ensure(H_, static_cast<std::size_t>(n) * size);
            all_nodes<R, true>(rows_, 0, n, unit(), nodes_, nodes_.q, G_.data(), H_.data());
            if (!in_psi) node_gradients(i, 0, n, true);
        } else {
            ensure(G_, static_cast<std::size_t>(kChunk) * size);
            ensure(H_, static_cast<std::size_t>(kChunk) * size);
            for (int first = 0; first < n; first += kChunk) {
                const int last = std::min(first + kChunk, n);
                all_nodes<R, true>(rows_, first, last, unit(), nodes_, nodes_.q, G_.data(), H_.data());
                node_gradients(i, first, last, first == 0);
            }
        }
        const NodeMoments nm = node_moments<Adaptive>(rule_, nodes_, mode_, omega, order_);
        const double weight = problem_.cluster_weights[i], value = nm.value + linear_;
        sum.value += weight * value;
        if (out.values) out.values[i] = weight * value;
        if (out.posterior) posterior(out.posterior + 3 * i);
        if (order_ == 0) return;
        double* score = out.scores ? out.scores + i * q_ : nullptr;
        if constexpr (R::kCollapses) collapsed_derivatives<Adaptive>(i, nm, weight, sum, score);
        else if (in_psi) psi_derivatives<Adaptive>(i, nm, weight, sum, score);
        else theta_derivatives<Adaptive>(i, nm, weight, whole, sum, score);
    }

    bool unit() const { return problem_.unit && !R::kCollapses; }

    CLUSTERGLM_INLINE double place_nodes(double& start) {
        constexpr double kInfinity = std::numeric_limits<double>::infinity();
        double low = -kInfinity, high = kInfinity;
        if (scan_) {
            const Scan::Bracket found = scan_->search<R>(rows_, unit());
            start = found.best, low = found.low, high = found.high;
        }
        mode_ = find_mode<R>(rows_, map_, sigma_, start, low, high);
        start = mode_.s;
        constexpr double kLeastCurvature = 1e-12;
        const double omega = 1.0 / std::sqrt(std::max(-mode_.g_ss, kLeastCurvature));
        for (int k = 0; k < nodes_.size; ++k) nodes_.s[k] = mode_.s + rule_.c[k] * omega;
        nodes_.locate(map_, sigma_);
        return omega;
    }

    // Mean and standard deviation of the intercept given the data; for fixed rules also the weight at the ends of the rule.
    void posterior(double* out) const {
        double total = 0.0, mean = 0.0, square = 0.0;
        for (int k = 0; k < nodes_.size; ++k) {
            const double pi = nodes_.pi[k], m = pi > 0.0 ? nodes_.m[k] : 0.0;
            total += pi;
            mean += pi * m;
        }
        mean /= total;
        for (int k = 0; k < nodes_.size; ++k) {
            const double pi = nodes_.pi[k], d = pi > 0.0 ? nodes_.m[k] - mean : 0.0;
            square += pi * d * d;
        }
        out[0] = mean;
        out[1] = std::sqrt(square / total);
        out[2] = (nodes_.pi[0] + nodes_.pi[rule_.count - 1]) / total;
    }

    // Fills the vectors' entries for psi-space row j from its moments and its derivatives at the mode.
    CLUSTERGLM_INLINE void put_row(int j, const RowMoments& rm, const ModeCoefficients& mc) {
        const double H = rows_.H[j], I = rows_.I[j], K = rows_.K[j];
        z_.s_t[j] = mc.s_t_H * H;
        z_.g_sst[j] = mc.sst_H * H + mc.sst_I * I;
        z_.g_ssst[j] = mc.ssst_H * H + mc.ssst_I * I + mc.ssst_K * K;
        z_.mean[j] = rm.mean, z_.P0[j] = rm.P0, z_.P1[j] = rm.P1;
    }
    CLUSTERGLM_INLINE void put_sigma(int at, const NodeMoments& nm, const ModeCoefficients& mc) {
        z_.s_t[at] = mc.s_t, z_.g_sst[at] = mc.g_sst, z_.g_ssst[at] = mc.g_ssst;
        z_.mean[at] = nm.mean_sigma, z_.P0[at] = nm.P0_sigma, z_.P1[at] = nm.P1_sigma;
    }

    // Score and Hessian in psi = (eta_1..eta_n, sigma), into z_.score and matrix_ (rows of padded(n + 1)).
    template <bool Adaptive>
    CLUSTERGLM_INLINE void psi_hessian(const NodeMoments& nm) {
        const int n = rows_.n, N = n + 1, width = padded(N), size = nodes_.size;
        z_.resize(N);
        ensure(pi_G_, static_cast<std::size_t>(n) * size);
        ensure(matrix_, static_cast<std::size_t>(N) * width);
        double *M = matrix_.data(), *pi_G = pi_G_.data();
        const double *G = G_.data(), *H = H_.data();
        std::fill_n(M, static_cast<std::size_t>(N) * width, 0.0);
        if constexpr (Adaptive) {
            const ModeCoefficients mc(mode_, nm);
            put_sigma(n, nm, mc);
            for (int j = 0; j < n; ++j) {
                const RowMoments rm = row_moments<true, true>(nodes_, G + j * size, H + j * size, pi_G + j * size);
                put_row(j, rm, mc);
                M[j * width + j] = rm.diagonal + mc.diagonal_I * rows_.I[j] + mc.diagonal_K * rows_.K[j];
                M[n * width + j] = M[j * width + n] =
                    rm.sigma + mc.sigma_H * rows_.H[j] + mc.sigma_I * rows_.I[j] + mc.sigma_K * rows_.K[j];
            }
            M[n * width + n] = nm.outer_sigma + mc.sigma_sigma;
            combine(z_, mode_, nm);
        } else {
            for (int j = 0; j < n; ++j) {
                const RowMoments rm = row_moments<false, true>(nodes_, G + j * size, H + j * size, pi_G + j * size);
                z_.score[j] = z_.P0[j] = rm.mean;
                M[j * width + j] = rm.diagonal;
                M[n * width + j] = M[j * width + n] = rm.sigma;
            }
            z_.score[n] = z_.P0[n] = nm.mean_sigma;
            M[n * width + n] = nm.outer_sigma;
        }
        if (order_ < 2) return;
        for (int j = 0; j < n; ++j)
            for (int l = 0; l <= j; ++l) {
                Pack dot{};
                for (int k : nodes_.active) dot += load(pi_G + j * size + k) * load(G + l * size + k);
                const double sum = reduce(dot);
                M[j * width + l] += sum;
                if (l < j) M[l * width + j] += sum;
            }
        const double *s_t = z_.s_t, *x1 = z_.x1, *D = z_.D, *x2 = z_.x2, *dq = z_.P0;
        for (int j = 0; j < N; ++j) {
            double* row = M + j * width;
            const double s_j = s_t[j], x1_j = x1[j], D_j = D[j], x2_j = x2[j], dq_j = dq[j];
            for (int l = 0; l < width; l += kLanes) {
                Pack sum = load(row + l) - dq_j * load(dq + l);
                if constexpr (Adaptive) sum += s_j * load(x1 + l) + x1_j * load(s_t + l) + D_j * load(x2 + l) + x2_j * load(D + l);
                store(row + l, sum);
            }
        }
    }

    // X' M X and X' score.
    template <bool Adaptive>
    CLUSTERGLM_INLINE void psi_derivatives(std::int64_t i, const NodeMoments& nm, double weight, Sum& sum, double* score_out) {
        psi_hessian<Adaptive>(nm);
        const int n = rows_.n, width = padded(n + 1), stride = stride_;
        ensure(x_, static_cast<std::size_t>(n) * stride);
        ensure(row_, static_cast<std::size_t>(n) * stride);
        copy_rows(x(problem_.starts[i]), n, p_, stride, x_.data());
        std::fill_n(theta_.begin(), stride, 0.0);
        add_rows(x_.data(), z_.score, n, stride, theta_.data());
        theta_[p_] = z_.score[n];
        add_score(weight, sum, score_out);
        if (order_ < 2) return;
        double *M = matrix_.data(), *hessian = sum.hessian.data(), *last = hessian + p_ * stride, *MX = row_.data();
        for (int j = 0; j <= n; ++j)
            for (int l = 0; l < width; l += kLanes) store(M + j * width + l, weight * load(M + j * width + l));
        std::fill_n(MX, static_cast<std::size_t>(n) * stride, 0.0);
        for (int j = 0; j < n; ++j) add_rows(x_.data(), M + j * width, n, stride, MX + j * stride);
        add_products(x_.data(), MX, n, p_, stride, hessian);
        add_rows(x_.data(), M + n * width, n, stride, last);
        last[p_] += M[n * width + n];
    }

    // theta_ holds the cluster's score.
    CLUSTERGLM_INLINE void add_score(double weight, Sum& sum, double* score_out) {
        for (int r = 0; r < stride_; r += kLanes) {
            store(&theta_[r], weight * load(&theta_[r]));
            store(&sum.score[r], load(&sum.score[r]) + load(&theta_[r]));
        }
        if (score_out) std::copy_n(theta_.begin(), q_, score_out);
    }

    // Long clusters: gradient of the log-integrand in beta at every node, p rows of `size` nodes.
    CLUSTERGLM_INLINE void node_gradients(std::int64_t i, int first, int last, bool fresh) {
        const int size = nodes_.size;
        ensure(node_gradients_, static_cast<std::size_t>(p_) * size);
        if (fresh) std::fill_n(node_gradients_.begin(), static_cast<std::size_t>(p_) * size, 0.0);
        for (int j = first; j < last; ++j) {
            const double *xj = x(problem_.starts[i] + j), *G = &G_[static_cast<std::size_t>(j - first) * size];
            for (int r = 0; r < p_; ++r) {
                double* to = &node_gradients_[static_cast<std::size_t>(r) * size];
                for (int k = 0; k < size; k += kLanes) store(to + k, load(to + k) + xj[r] * load(G + k));
            }
        }
    }

    template <bool Adaptive>
    CLUSTERGLM_INLINE void theta_derivatives(std::int64_t i, const NodeMoments& nm, double weight, bool whole, Sum& sum, double* score_out) {
        const int n = rows_.n, size = nodes_.size;
        const ModeCoefficients mc(mode_, nm);
        const std::int64_t start = problem_.starts[i];
        z_.resize(q_);
        ensure(pi_G_, size);
        std::fill(z_.memory.begin(), z_.memory.begin() + 10 * padded(q_), 0.0);
        double *hessian = sum.hessian.data(), *last = hessian + p_ * stride_;
        for (int first = 0; first < n; first += kChunk) {
            const int end = std::min(first + kChunk, n);
            if (!whole) {  // node sums are complete in q, S1 and S2; this only brings back the chunk's own terms
                weights_.assign(3 * static_cast<std::size_t>(size), 0.0);
                recompute_chunk(first, end);
            }
            for (int j = first; j < end; ++j) {
                const std::size_t at = static_cast<std::size_t>(whole ? j : j - first) * size;
                const RowMoments rm = row_moments<Adaptive, false>(nodes_, &G_[at], &H_[at], pi_G_.data());
                const double* xj = x(start + j);
                double diagonal = rm.diagonal, cross = rm.sigma;
                if constexpr (Adaptive) {
                    const double H = rows_.H[j], I = rows_.I[j], K = rows_.K[j];
                    diagonal += mc.diagonal_I * I + mc.diagonal_K * K;
                    cross += mc.sigma_H * H + mc.sigma_I * I + mc.sigma_K * K;
                    const double s_t = mc.s_t_H * H, sst = mc.sst_H * H + mc.sst_I * I, ssst = mc.ssst_H * H + mc.ssst_I * I + mc.ssst_K * K;
                    for (int r = 0; r < p_; ++r) {
                        z_.s_t[r] += s_t * xj[r], z_.g_sst[r] += sst * xj[r], z_.g_ssst[r] += ssst * xj[r];
                        z_.P0[r] += rm.P0 * xj[r], z_.P1[r] += rm.P1 * xj[r];
                    }
                }
                for (int r = 0; r < p_; ++r) z_.mean[r] += rm.mean * xj[r];
                if (order_ < 2) continue;
                for (int r = 0; r < p_; ++r) {
                    const double xr = weight * diagonal * xj[r];
                    for (int s = 0; s <= r; ++s) hessian[r * stride_ + s] += xr * xj[s];
                    last[r] += weight * cross * xj[r];
                }
            }
        }
        if constexpr (Adaptive) {
            put_sigma(p_, nm, mc);
            combine(z_, mode_, nm);
        } else {
            z_.mean[p_] = nm.mean_sigma;
            for (int r = 0; r < q_; ++r) z_.score[r] = z_.P0[r] = z_.mean[r];
        }
        std::copy_n(z_.score, stride_, theta_.begin());
        add_score(weight, sum, score_out);
        if (order_ < 2) return;
        const auto gradient = [&](int r) { return r < p_ ? &node_gradients_[static_cast<std::size_t>(r) * size] : nodes_.rS1; };
        for (int r = 0; r < q_; ++r) {
            const double* gr = gradient(r);
            for (int s = 0; s <= r; ++s) {
                double total = 0.0;
                if (s < p_) {  // the entry of sigma with itself is in outer_sigma
                    const double* gs = gradient(s);
                    Pack dot{};
                    for (int k : nodes_.active) dot += load(nodes_.pi + k) * load(gr + k) * load(gs + k);
                    total = reduce(dot);
                } else {
                    total = nm.outer_sigma + (Adaptive ? mc.sigma_sigma : 0.0);
                }
                total -= z_.P0[r] * z_.P0[s];
                if constexpr (Adaptive) total += z_.s_t[r] * z_.x1[s] + z_.x1[r] * z_.s_t[s] + z_.D[r] * z_.x2[s] + z_.x2[r] * z_.D[s];
                hessian[r * stride_ + s] += weight * total;
            }
        }
    }

    // G and H of one chunk again, leaving the cluster's node sums alone.
    CLUSTERGLM_INLINE void recompute_chunk(int first, int end) {
        const int size = nodes_.size;
        double *q = weights_.data(), *S1 = nodes_.S1, *S2 = nodes_.S2;
        nodes_.S1 = q + size, nodes_.S2 = q + 2 * size;
        all_nodes<R, true>(rows_, first, end, unit(), nodes_, q, G_.data(), H_.data());
        nodes_.S1 = S1, nodes_.S2 = S2;
    }

    // A Poisson cluster depends on its rows only through sum a*eta and kappa = log sum b e^eta: the likelihood is that of one row
    // with linear predictor kappa, count sum a and exposure 1, times exp(sum a*eta - kappa sum a).
    CLUSTERGLM_INLINE void load_collapsed(std::int64_t i) {
        const std::int64_t start = problem_.starts[i];
        const int n = static_cast<int>(problem_.starts[i + 1] - start);
        const double *a = problem_.a + start, *b = problem_.b + start;
        ensure(weights_, padded(n));
        double top = -std::numeric_limits<double>::infinity(), sum_a = 0.0, sum_a_eta = 0.0, total = 0.0;
        for (int j = 0; j < n; ++j) {
            const double eta = problem_.eta(start + j, beta_);
            weights_[j] = eta;
            top = std::max(top, eta);
            sum_a += a[j];
            sum_a_eta += a[j] * eta;
        }
        for (int j = n; j < padded(n); ++j) weights_[j] = top;
        for (int j = 0; j < n; j += kLanes) store(&weights_[j], lanes::exp(clusterglm::load(&weights_[j]) - top));
        for (int j = 0; j < n; ++j) total += weights_[j] *= b[j];
        const double scale = 1.0 / total;
        for (int j = 0; j < n; ++j) weights_[j] *= scale;
        const double kappa = top + std::log(total);
        linear_ = sum_a_eta - sum_a * kappa;
        rows_.resize(1);
        rows_.eta[0] = kappa, rows_.a[0] = sum_a, rows_.b[0] = 1.0;
        rows_.finish();
    }

    // With x_mean the gradient of kappa and `excess` the derivative in kappa of everything but sum a*eta:
    // score = sum a x + excess x_mean, Hessian = excess sum share x x' + (M - excess) x_mean x_mean'.
    template <bool Adaptive>
    CLUSTERGLM_INLINE void collapsed_derivatives(std::int64_t i, const NodeMoments& nm, double weight, Sum& sum, double* score_out) {
        psi_hessian<Adaptive>(nm);
        const std::int64_t start = problem_.starts[i], end = problem_.starts[i + 1];
        const double excess = z_.score[0] - rows_.a[0];
        const int stride = stride_, width = padded(2);  // psi is (kappa, sigma)
        ensure(x_, static_cast<std::size_t>(kChunk) * stride);
        ensure(row_, static_cast<std::size_t>(kChunk) * stride);
        std::fill_n(theta_.begin(), stride, 0.0);
        std::fill_n(x_mean_.begin(), stride, 0.0);
        double *hessian = sum.hessian.data(), *last = hessian + p_ * stride;
        for (std::int64_t first = start; first < end; first += kChunk) {
            const int n = static_cast<int>(std::min<std::int64_t>(kChunk, end - first));
            const double* share = &weights_[first - start];
            copy_rows(x(first), n, p_, stride, x_.data());
            add_rows(x_.data(), share, n, stride, x_mean_.data());
            add_rows(x_.data(), problem_.a + first, n, stride, theta_.data());
            if (order_ < 2) continue;
            for (int j = 0; j < n; ++j)
                for (int v = 0; v < stride; v += kLanes)
                    store(&row_[j * stride + v], weight * excess * share[j] * clusterglm::load(&x_[j * stride + v]));
            add_products(x_.data(), row_.data(), n, p_, stride, hessian);
        }
        const double one = excess;
        add_rows(x_mean_.data(), &one, 1, stride, theta_.data());
        theta_[p_] = z_.score[1];
        add_score(weight, sum, score_out);
        if (order_ < 2) return;
        const double curvature = weight * (matrix_[0] - excess), cross = weight * matrix_[width];
        for (int v = 0; v < stride; v += kLanes) store(&row_[v], curvature * clusterglm::load(&x_mean_[v]));
        add_products(x_mean_.data(), row_.data(), 1, p_, stride, hessian);
        add_rows(x_mean_.data(), &cross, 1, stride, last);
        last[p_] += weight * matrix_[width + 1];
    }
};

template <class R>
CLUSTERGLM_CLONES void evaluate_block(Evaluator<R>& evaluator, const Selection& selection, std::int64_t first, std::int64_t last,
                                      double* modes, Sum& sum, const PerCluster& out) {
    for (std::int64_t i = first; i < last; ++i) evaluator.cluster(selection[i], modes[selection[i]], sum, out);
}

// The sum over the selected clusters. modes: one per cluster of the problem, where searches start; updated.
template <class R>
bool evaluate(const Problem& problem, const LocationMap& map, const Rule& rule, const double* theta, int order, const Selection& selection,
              double* modes, const PerCluster& out, int threads, Sum& total, const std::function<bool()>& interrupted) {
    std::vector<std::unique_ptr<Evaluator<R>>> evaluators(static_cast<std::size_t>(std::max(threads, 1)));
    return sum_over_blocks(
        problem, selection, problem.p + 1, threads,
        [&](int worker, std::int64_t first, std::int64_t last, Sum& sum) {
            auto& evaluator = evaluators[worker];
            if (!evaluator) evaluator = std::make_unique<Evaluator<R>>(problem, map, rule, theta, order);
            evaluate_block(*evaluator, selection, first, last, modes, sum, out);
        },
        total, interrupted);
}

}  // namespace clusterglm
