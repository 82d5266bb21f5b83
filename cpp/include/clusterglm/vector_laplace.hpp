// Laplace's approximation to the log-integrals of clusters with several normal effects, with its exact score and Hessian: four clusters side
// by side, a lane each.
//
// Of rows, lambda = eta + A u, w = d lambda / d theta at held u, alpha = dA / d theta; G, H, I, K derivatives of log P. At the mode the
// curvature is S = 1 - sum H A A', P = S^-1, a = A'P A, v = P sum I a A / 2, V = v'A. The mode moves by u_r = P sum (H w_r A + G alpha_r), lambda by
// l_r = w_r + A'u_r, the curvature by M_r = -sum (I l_r A A' + H (alpha_r A' + A alpha_r')). Then of f = g - log det S / 2
//
//     f_r  = sum w_r (G + I a / 2 + H V) + alpha_r'(H P A + G v)
//     f_rs = u_r'S u_s + tr(P M_r P M_s) / 2 + sum [H w_r w_s + (K a / 2 + I V) l_r l_s + H alpha_r'P alpha_s]
//            + (r, s) and (s, r) of  sum [(I a / 2 + H V) alpha_r'u_s + alpha_r'(I P A + H v) l_s]
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "blocks.hpp"
#include "four.hpp"
#include "lanes.hpp"
#include "parallel.hpp"
#include "vector_nodes.hpp"
#include "vector_rows.hpp"

namespace clusterglm {

template <int D>
class VectorLaplace {
   public:
    VectorLaplace(const RowLoops& loops, const Problem& problem, const VectorModel& model, double* centres, double* factors, int order)
        : loops_(loops), problem_(problem), model_(model), centres_(centres), factors_(factors), order_(order), d_(model.d), p_(model.p), q_(model.parameters()),
          P_(problem.p), four_(problem), rows_(loops, problem, model), modes_(static_cast<std::size_t>(problem.clusters), 0.0),
          score_(static_cast<std::size_t>(q_)), hessian_(static_cast<std::size_t>(q_) * (q_ + 1) / 2), mean_(score_), moves_(score_.size() * d_),
          bends_(score_.size() * d_ * d_), w_(score_), l_(score_), h_(score_), by_H_(static_cast<std::size_t>(P_) * d_), by_G_(P_), by_c_(P_),
          by_I_(static_cast<std::size_t>(P_) * d_ * d_) {}

    void begin() {
        std::fill(hessian_.begin(), hessian_.end(), Pack{});
        std::fill(score_.begin(), score_.end(), Pack{});
    }

    void end(Sum& sum) const {
        const Pack* cell = hessian_.data();
        for (int r = 0; r < q_; ++r) {
            sum.score[r] += reduce(score_[r]);
            for (int s = 0; s <= r; ++s, ++cell) sum.hessian[static_cast<std::size_t>(r) * sum.stride + s] += reduce(*cell);
        }
    }

    // `count` <= 4 clusters, in order of size.
    void add(const std::int64_t* clusters, int count, Sum& sum, const VectorOutputs& out) {
        four_.take(clusters, count, modes_.data());
        load();
        for (int t = 0; t < d(); ++t)
            for (int l = 0; l < kLanes; ++l) u_[t][l] = centres_[four_.cluster[l] * d() + t];
        find_modes();
        invert();
        const Pack value = values();
        for (int l = 0; l < count; ++l) {
            const std::int64_t cluster = four_.cluster[l];
            sum.value += four_.weight[l] * value[l];
            if (out.values) out.values[cluster] = four_.weight[l] * value[l];
            for (int t = 0; t < d(); ++t) {
                centres_[cluster * d() + t] = u_[t][l];
                for (int s = 0; s < d(); ++s) factors_[(cluster * d() + t) * d() + s] = s < t ? 0.0 : F_[t][s][l];
            }
        }
        if (order_ == 0) return;
        add_score();
        for (int l = 0; l < count && out.scores; ++l)
            for (int r = 0; r < q_; ++r) out.scores[four_.cluster[l] * q_ + r] = four_.weight[l] * mean_[r][l];
        if (order_ > 1) add_hessian();
    }

   private:
    using Packs = std::vector<Pack>;
    using Square = Pack[kMostEffects][kMostEffects];

    const RowLoops& loops_;
    const Problem& problem_;
    const VectorModel& model_;
    double *centres_, *factors_;
    const int order_, d_, p_, q_, P_;
    FourClusters four_;
    VectorRows<D> rows_;  // of a cluster whose mode is hard to find
    std::vector<double> modes_;
    int n_ = 0;
    Packs x_, A_, eta_, a_, b_, lambda_, G_, H_, I_, K_;  // rows x P, rows x d, rows
    Pack u_[kMostEffects], v_[kMostEffects];
    Square S_, C_, F_, inverse_;
    Packs score_, hessian_, mean_;                  // of all clusters with their weights; of those at hand
    Packs moves_, bends_;                           // u_r and F'M_r F
    Packs w_, l_, h_;                               // of a row
    Packs by_H_, by_G_, by_c_, by_I_;               // sums of x times H A, G, I a / 2 + H V, and I A A'

    CLUSTERGLM_INLINE int d() const { return D > 0 ? D : d_; }
    CLUSTERGLM_INLINE const Pack* x(int j) const { return &x_[static_cast<std::size_t>(j) * P_]; }
    CLUSTERGLM_INLINE const Pack* A(int j) const { return &A_[static_cast<std::size_t>(j) * d()]; }
    // Of a free entry of L: the column of X of its effect.
    CLUSTERGLM_INLINE int column(int e) const { return static_cast<int>(model_.columns[model_.row[e]]); }
    CLUSTERGLM_INLINE int effect(int e) const { return static_cast<int>(model_.col[e]); }

    void load() {
        n_ = four_.n;
        const auto n = static_cast<std::size_t>(n_);
        if (eta_.size() < n) {
            for (Packs* of_rows : {&eta_, &a_, &b_, &lambda_, &G_, &H_, &I_, &K_}) of_rows->resize(n);
            x_.resize(n * P_), A_.resize(n * d());
        }
        with_known(P_, [&]<int P>() CLUSTERGLM_INLINE_LAMBDA {
            for (int j = 0; j < n_; ++j) {
                Pack a{}, b{}, at{};
                four_.read(j, a, b, at);
                Pack* column = &x_[static_cast<std::size_t>(j) * P_];
                each_column<P>(four_.rows(j), P_, [&](int r, Pack x) CLUSTERGLM_INLINE_LAMBDA {
                    column[r] = x;
                    at += model_.beta[r] * x;
                });
                eta_[j] = at, a_[j] = a, b_[j] = b;
                for (int t = 0; t < d(); ++t) {
                    Pack slope{};
                    for (int e = t; e < d(); ++e) slope += model_.L[e][t] * column[model_.columns[e]];
                    A_[static_cast<std::size_t>(j) * d() + t] = slope;
                }
            }
        });
    }

    void derivatives() {
        checkpoint(8 * static_cast<std::int64_t>(n_));
        for (int j = 0; j < n_; ++j) {
            Pack at = eta_[j];
            for (int t = 0; t < d(); ++t) at += u_[t] * A(j)[t];
            lambda_[j] = at;
        }
        loops_.derivatives_by_fours(lambda_.data(), a_.data(), b_.data(), n_, {G_.data(), H_.data(), I_.data(), K_.data()});
    }

    // Newton's step from u, of which the gradient's product is returned; the curvature and its Cholesky factor.
    Pack newton_step(Pack* step) {
        Pack g[kMostEffects];
        for (int t = 0; t < d(); ++t) {
            g[t] = -u_[t];
            for (int s = 0; s <= t; ++s) S_[t][s] = all(t == s ? 1.0 : 0.0);
        }
        for (int j = 0; j < n_; ++j)
            for (int t = 0; t < d(); ++t) {
                g[t] += A(j)[t] * G_[j];
                const Pack by = A(j)[t] * H_[j];
                for (int s = 0; s <= t; ++s) S_[t][s] -= by * A(j)[s];
            }
        for (int r = 0; r < d(); ++r)
            for (int s = 0; s <= r; ++s) {
                Pack sum = S_[r][s];
                for (int t = 0; t < s; ++t) sum -= C_[r][t] * C_[s][t];
                // By rounding, or numbers without end: as if the likelihood were flat.
                C_[r][s] = s < r ? sum / C_[s][s] : lanes::sqrt(sum > Pack{} ? sum : all(1.0));
            }
        Pack decrement{};
        for (int t = 0; t < d(); ++t) {
            step[t] = g[t];
            for (int s = 0; s < t; ++s) step[t] -= C_[t][s] * step[s];
            step[t] /= C_[t][t];
            decrement += step[t] * step[t];
        }
        for (int t = d() - 1; t >= 0; --t) {
            for (int s = t + 1; s < d(); ++s) step[t] -= C_[s][t] * step[s];
            step[t] /= C_[t][t];
        }
        return decrement;
    }

    // Steps that change no lambda by more than 1 go uphill (Bach, Electronic Journal of Statistics 4, 2010, proposition 1). Lanes that do not
    // arrive have their modes sought one by one.
    void find_modes() {
        constexpr int kMost = 25;
        constexpr double kTolerance = 1e-16, kTiny = 1e-24;
        Pack step[kMostEffects], last = all(1e300);
        PackMask moving{};
        for (int number = 0; number < kMost; ++number) {
            derivatives();
            const Pack decrement = newton_step(step);
            const PackMask drowned = (decrement < all(kTolerance)) & (decrement > 0.1 * last);
            moving = (decrement > all(kTiny)) & ~drowned;
            last = decrement;
            if (lanes::every(~moving)) return;
            Pack farthest{};
            for (int j = 0; j < n_; ++j) {
                Pack move{};
                for (int t = 0; t < d(); ++t) move += step[t] * A(j)[t];
                move = lanes::magnitude(move);
                farthest = move > farthest ? move : farthest;
            }
            const Pack length = farthest > all(1.0) ? 1.0 / farthest : all(1.0);
            for (int t = 0; t < d(); ++t) u_[t] += moving ? length * step[t] : Pack{};
        }
        for (int l = 0; l < kLanes; ++l) {
            if (moving[l] == 0) continue;
            double u[kMostEffects];
            for (int t = 0; t < d(); ++t) u[t] = std::isfinite(u_[t][l]) ? u_[t][l] : 0.0;
            rows_.load(four_.cluster[l]);
            rows_.find_mode(u, true);
            for (int t = 0; t < d(); ++t) u_[t][l] = u[t];
        }
        derivatives();
        newton_step(step);
    }

    // F = C^-T and P = F F'.
    void invert() {
        for (int r = 0; r < d(); ++r) {
            F_[r][r] = 1.0 / C_[r][r];
            for (int s = r + 1; s < d(); ++s) {
                Pack sum{};
                for (int t = r; t < s; ++t) sum -= C_[s][t] * F_[r][t];
                F_[r][s] = sum / C_[s][s];
            }
        }
        for (int r = 0; r < d(); ++r)
            for (int s = 0; s <= r; ++s) {
                Pack sum{};
                for (int t = r; t < d(); ++t) sum += F_[r][t] * F_[s][t];
                inverse_[r][s] = inverse_[s][r] = sum;
            }
    }

    Pack values() const {
        Pack sum;
        loops_.log_p_by_fours(lambda_.data(), a_.data(), b_.data(), n_, &sum);
        Pack determinant = all(1.0);
        for (int t = 0; t < d(); ++t) {
            sum -= 0.5 * u_[t] * u_[t];
            determinant *= F_[t][t];
        }
        for (int l = 0; l < kLanes; ++l) sum[l] += std::log(determinant[l]);
        return sum;
    }

    // P A of a row.
    CLUSTERGLM_INLINE void pulled(int j, Pack* to) const {
        for (int t = 0; t < d(); ++t) {
            to[t] = Pack{};
            for (int s = 0; s < d(); ++s) to[t] += inverse_[t][s] * A(j)[s];
        }
    }
    CLUSTERGLM_INLINE Pack dot(const Pack* one, const Pack* other) const {
        Pack sum{};
        for (int t = 0; t < d(); ++t) sum += one[t] * other[t];
        return sum;
    }

    void add_score() {
        Pack half[kMostEffects] = {}, PA[kMostEffects], by[kMostEffects];
        for (int j = 0; j < n_; ++j) {
            pulled(j, PA);
            const Pack at = 0.5 * I_[j] * dot(PA, A(j));
            for (int t = 0; t < d(); ++t) half[t] += at * A(j)[t];
        }
        for (int t = 0; t < d(); ++t) {
            v_[t] = Pack{};
            for (int s = 0; s < d(); ++s) v_[t] += inverse_[t][s] * half[s];
        }
        std::fill(mean_.begin(), mean_.end(), Pack{});
        for (int j = 0; j < n_; ++j) {
            pulled(j, PA);
            const Pack along = G_[j] + 0.5 * I_[j] * dot(PA, A(j)) + H_[j] * dot(v_, A(j));
            for (int t = 0; t < d(); ++t) by[t] = u_[t] * along + H_[j] * PA[t] + G_[j] * v_[t];
            for (int r = 0; r < p_; ++r) mean_[r] += along * x(j)[r];
            for (int e = 0; e < model_.entries; ++e) mean_[p_ + e] += by[effect(e)] * x(j)[column(e)];
        }
        for (int r = 0; r < q_; ++r) score_[r] += four_.weight * mean_[r];
    }

    void add_hessian() {
        sum_columns();
        move();
        const Pack weight = four_.weight;
        checkpoint(static_cast<std::int64_t>(n_) * q_ * q_);
        Pack PA[kMostEffects], pull[kMostEffects];
        for (int j = 0; j < n_; ++j) {
            pulled(j, PA);
            const Pack a = dot(PA, A(j)), H = weight * H_[j];
            const Pack bend = weight * (0.5 * K_[j] * a + I_[j] * dot(v_, A(j)));
            for (int t = 0; t < d(); ++t) pull[t] = weight * (I_[j] * PA[t] + H_[j] * v_[t]);
            for (int r = 0; r < q_; ++r) {
                const int e = r - p_;
                w_[r] = e < 0 ? x(j)[r] : x(j)[column(e)] * u_[effect(e)];
                h_[r] = e < 0 ? Pack{} : x(j)[column(e)] * pull[effect(e)];
                l_[r] = w_[r] + dot(&moves_[static_cast<std::size_t>(r) * d()], A(j));
            }
            Pack* cell = hessian_.data();
            for (int r = 0; r < q_; ++r) {
                const int e = r - p_;
                const Pack by = bend * l_[r] + h_[r], Hw = H * w_[r], l = l_[r];
                for (int s = 0; s < std::min(r + 1, p_); ++s, ++cell) *cell += by * l_[s] + Hw * w_[s];
                for (int s = p_; s <= r; ++s, ++cell) {
                    const Pack apart = H * inverse_[effect(e)][effect(s - p_)] * x(j)[column(e)] * x(j)[column(s - p_)];
                    *cell += by * l_[s] + l * h_[s] + Hw * w_[s] + apart;
                }
            }
        }
        // What belongs to clusters.
        Pack* cell = hessian_.data();
        for (int r = 0; r < q_; ++r)
            for (int s = 0; s <= r; ++s, ++cell) {
                const Pack *one = &moves_[static_cast<std::size_t>(r) * d()], *other = &moves_[static_cast<std::size_t>(s) * d()];
                Pack sum{}, trace{};
                for (int t = 0; t < d(); ++t) {
                    Pack first{}, second{};  // entries of C'u_r
                    for (int i = t; i < d(); ++i) first += C_[i][t] * one[i], second += C_[i][t] * other[i];
                    sum += first * second;
                    for (int i = 0; i < d(); ++i) trace += bend_of(r)[t * d() + i] * bend_of(s)[t * d() + i];
                }
                if (r >= p_) sum += by_c_[column(r - p_)] * other[effect(r - p_)];
                if (s >= p_) sum += by_c_[column(s - p_)] * one[effect(s - p_)];
                *cell += weight * (sum + 0.5 * trace);
            }
    }

    const Pack* bend_of(int r) const { return &bends_[static_cast<std::size_t>(r) * d() * d()]; }

    void sum_columns() {
        for (Packs* sums : {&by_H_, &by_G_, &by_c_, &by_I_}) std::fill(sums->begin(), sums->end(), Pack{});
        Pack PA[kMostEffects];
        for (int j = 0; j < n_; ++j) {
            pulled(j, PA);
            const Pack c = 0.5 * I_[j] * dot(PA, A(j)) + H_[j] * dot(v_, A(j));
            Pack HA[kMostEffects];
            Square IA;
            for (int t = 0; t < d(); ++t) {
                HA[t] = H_[j] * A(j)[t];
                for (int s = 0; s <= t; ++s) IA[t][s] = I_[j] * A(j)[t] * A(j)[s];
            }
            for (int r = 0; r < P_; ++r) {
                const Pack at = x(j)[r];
                by_G_[r] += G_[j] * at, by_c_[r] += c * at;
                for (int t = 0; t < d(); ++t) {
                    by_H_[static_cast<std::size_t>(r) * d() + t] += HA[t] * at;
                    for (int s = 0; s <= t; ++s) by_I_[(static_cast<std::size_t>(r) * d() + t) * d() + s] += IA[t][s] * at;
                }
            }
        }
    }

    // How the modes and the curvatures move with each parameter.
    void move() {
        // sum I A_e A_t A_s, by the columns of which A is made.
        const auto third = [&](int e, int t, int s) CLUSTERGLM_INLINE_LAMBDA {
            Pack sum{};
            for (int i = e; i < d(); ++i) sum += model_.L[i][e] * by_I_[(static_cast<std::size_t>(model_.columns[i]) * d() + t) * d() + s];
            return sum;
        };
        Square cubes[kMostEffects];
        for (int e = 0; e < d(); ++e)
            for (int t = 0; t < d(); ++t)
                for (int s = 0; s <= t; ++s) cubes[e][t][s] = third(e, t, s);
        for (int r = 0; r < q_; ++r) {
            const int e = r - p_, from = e < 0 ? r : column(e), of = e < 0 ? -1 : effect(e);
            const Pack times = e < 0 ? all(1.0) : u_[of];
            const Pack *by_H = &by_H_[static_cast<std::size_t>(from) * d()], *by_I = &by_I_[static_cast<std::size_t>(from) * d() * d()];
            Pack pull[kMostEffects], *to = &moves_[static_cast<std::size_t>(r) * d()];
            for (int t = 0; t < d(); ++t) pull[t] = times * by_H[t] + (t == of ? by_G_[from] : Pack{});
            for (int t = 0; t < d(); ++t) {
                to[t] = Pack{};
                for (int s = 0; s < d(); ++s) to[t] += inverse_[t][s] * pull[s];
            }
            Square M, half;
            for (int t = 0; t < d(); ++t)
                for (int s = 0; s <= t; ++s) {
                    Pack sum = times * by_I[t * d() + s];
                    for (int i = 0; i < d(); ++i) sum += to[i] * cubes[i][t][s];
                    if (t == of) sum += by_H[s];
                    if (s == of) sum += by_H[t];
                    M[t][s] = M[s][t] = -sum;
                }
            for (int t = 0; t < d(); ++t)
                for (int s = 0; s < d(); ++s) {
                    half[t][s] = Pack{};
                    for (int i = 0; i <= s; ++i) half[t][s] += M[t][i] * F_[i][s];
                }
            Pack* bend = &bends_[static_cast<std::size_t>(r) * d() * d()];
            for (int t = 0; t < d(); ++t)
                for (int s = 0; s < d(); ++s) {
                    Pack sum{};
                    for (int i = 0; i <= t; ++i) sum += F_[i][t] * half[i][s];
                    bend[t * d() + s] = sum;
                }
        }
    }
};

}  // namespace clusterglm
