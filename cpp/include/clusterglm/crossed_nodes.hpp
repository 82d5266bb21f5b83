// Units whose own effects are integrated out over points, given effects outside: derivatives in these are posterior moments.
//
// With s = B'G at a point, E[s s'] - E[s]E[s]' + B'E[H]B is the second derivative in the outside effects. Its contraction with a symmetric
// matrix P has the derivative E[W'r], r = a I + 2 H B(q - E q) + c G, with q = P s, a = diag(B P B'), T = a'H + s'q and
// c = T - E T - 2 (s - E s)'E q (docs/explanation/likelihood.md says how nodes are laid).
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "crossed_outside.hpp"
#include "vector.hpp"

namespace clusterglm {

template <int D>
class CrossedNodes : VectorNodes<D> {
   public:
    CrossedNodes(const RowLoops& loops, const Problem& problem, const VectorModel& model, const PointSet* points, const VectorPlaces& places,
                 const Outside& outside, const CrossedInputs& in)
        : VectorNodes<D>(loops, problem, model, *points), model_(model), places_(places), outside_(outside), in_(in),
          K_(static_cast<std::size_t>(points->size)), c_(K_), effects_(K_ * model.d) {}

    void add(std::int64_t unit, const CrossedOutputs& out, double* block) {
        const double weight = problem_.cluster_weights[unit];
        start_ = problem_.starts[unit], count_ = outside_.count(unit), stride_ = padded(count_);
        double* centre = places_.centres + unit * d();
        double* stored = places_.factors + unit * d() * d();
        rows_.load(unit);
        if (places_.follow) {
            rows_.find_mode(centre, places_.precise, true);
            F_ = rows_.F;
            for (int t = 0; t < d(); ++t) std::copy_n(F_[t], d(), stored + t * d());
        } else {
            for (int t = 0; t < d(); ++t) std::copy_n(stored + t * d(), d(), F_[t]);
        }
        place(centre);
        const bool third = in_.task == CrossedTask::kContract, derivatives = in_.task != CrossedTask::kValue;
        step_ = std::min(rows_.n, third ? std::max(kLanes, keep_rows() / 2) : keep_rows());
        const bool whole = step_ == rows_.n;
        evaluate(0, rows_.n, whole && derivatives && !third, true);
        double value = weigh();
        for (int t = 0; t < d(); ++t) value += std::log(std::fabs(F_[t][t]));
        if (out.values) out.values[unit] = weight * value;
        if (!derivatives) return;
        if (whole && third) derive(0, rows_.n);

        std::fill(effects_.begin(), effects_.end(), 0.0);
        if (in_.task == CrossedTask::kScore) {
            chunks(whole, [&](int first, int last) {
                collect(first, last, weight, out.rows, [&](int j, int k) CLUSTERGLM_INLINE_LAMBDA { return load(G(j - first) + k); });
            });
        } else if (in_.task == CrossedTask::kCurvature) {
            add_curvature(whole, weight, block);
        } else if (in_.task == CrossedTask::kContract) {
            contract(unit, whole, weight, out);
        } else {
            along(whole, weight, out);
        }
        if (out.entries && in_.task != CrossedTask::kCurvature) write_entries(out.entries + unit * model_.entries, weight);
    }

    // Of a block of second derivatives: how many numbers it has, and its part in rows low..high of the component's matrix subtracted.
    static std::size_t cells(const Outside& outside, const Problem&, int, std::int64_t unit) {
        return static_cast<std::size_t>(outside.count(unit)) * padded(outside.count(unit));
    }
    static void subtract(const Outside& outside, const Problem&, int, std::int64_t unit, const double* block, std::int64_t low, std::int64_t high,
                         double* matrix) {
        const int stride = padded(outside.count(unit));
        outside.each_touched(unit, low, high, matrix, [&](int a, double* to, const std::int32_t* at) CLUSTERGLM_INLINE_LAMBDA {
            const double* row = block + static_cast<std::size_t>(a) * stride;
            if (at) {
                for (int b = 0; b <= a; ++b) to[at[b]] -= row[b];
            } else {
                for (int b = 0; b <= a; ++b) to[b] -= row[b];
            }
        });
    }
    static constexpr bool kManyCells = true;

   private:
    using Nodes = VectorNodes<D>;
    using Nodes::problem_, Nodes::points_, Nodes::rows_, Nodes::F_, Nodes::pi, Nodes::H_, Nodes::G_, Nodes::active_, Nodes::actives_, Nodes::I_;
    using Nodes::d, Nodes::u, Nodes::keep_rows, Nodes::place, Nodes::evaluate, Nodes::derive, Nodes::weigh, Nodes::write_posterior;

    const VectorModel& model_;
    const VectorPlaces& places_;
    const Outside& outside_;
    const CrossedInputs& in_;
    const std::size_t K_;
    std::int64_t start_ = 0;
    int count_ = 0, stride_ = 0, step_ = 0;
    std::vector<double> c_, effects_;               // over points: a weight; d arrays of sums of z r
    std::vector<double> s_, q_, across_s_, shared_s_;  // touched x points; points x touched, and times the points' shares
    TouchedPart touched_;
    std::vector<double> s_mean_, q_mean_, leverage_, H_mean_;

    const double* G(int j) const { return &G_[j * K_]; }
    const double* H(int j) const { return &H_[j * K_]; }
    const std::int32_t* local(int j) const { return outside_.local + (start_ + j) * outside_.width; }
    const double* slopes(int j) const { return outside_.slopes + (start_ + j) * outside_.width; }

    // body(first, last) for chunks of rows whose derivatives are at hand.
    template <class Body>
    void chunks(bool whole, const Body& body) {
        for (int first = 0; first < rows_.n; first += step_) {
            const int last = std::min(first + step_, rows_.n);
            if (!whole) {
                if (in_.task == CrossedTask::kContract) derive(first, last);
                else evaluate(first, last, 1, false);
            }
            checkpoint(static_cast<std::int64_t>(last - first) * static_cast<std::int64_t>(K_));
            body(first, last);
        }
    }

    template <class Body>
    CLUSTERGLM_INLINE void each_pack(const Body& body) const {
        for (int i = 0; i < actives_; ++i) body(active_[i] * kLanes);
    }
    template <class Term>
    CLUSTERGLM_INLINE double mean(const Term& term) const {
        Pack sum{};
        each_pack([&](int k) CLUSTERGLM_INLINE_LAMBDA {
            const Pack share = load(&pi[k]);
            sum += share > Pack{} ? share * term(k) : Pack{};
        });
        return reduce(sum);
    }

    // Rows' means of r_jk = term(j, k), and effects' sums of z r.
    template <class Term>
    CLUSTERGLM_INLINE void collect(int first, int last, double weight, double* rows, const Term& term) {
        for (int j = first; j < last; ++j) {
            Pack sum{};
            each_pack([&](int k) CLUSTERGLM_INLINE_LAMBDA {
                const Pack share = load(&pi[k]), r = share > Pack{} ? share * term(j, k) : Pack{};
                sum += r;
                for (int t = 0; t < d(); ++t) {
                    double* to = &effects_[t * K_ + k];
                    store(to, load(to) + rows_.column(static_cast<int>(model_.columns[t]))[j] * r);
                }
            });
            rows[start_ + j] = weight * reduce(sum);
        }
    }

    void write_entries(double* entries, double weight) const {
        for (int e = 0; e < model_.entries; ++e) {
            Pack sum{};
            const double *z = &effects_[model_.row[e] * K_], *effect = u(static_cast<int>(model_.col[e]));
            each_pack([&](int k) CLUSTERGLM_INLINE_LAMBDA { sum += load(z + k) * load(effect + k); });
            entries[e] = weight * reduce(sum);
        }
    }

    // s of all rows, 0 at points without weight; each(first, j): what else is wanted of a row.
    template <class Each>
    void sum_slopes(bool whole, const Each& each) {
        s_.assign(static_cast<std::size_t>(count_) * K_, 0.0);
        chunks(whole, [&](int first, int last) {
            for (int j = first; j < last; ++j) {
                for (int w = 0; w < outside_.width; ++w) {
                    double* to = &s_[local(j)[w] * K_];
                    const double b = slopes(j)[w];
                    each_pack([&](int k) CLUSTERGLM_INLINE_LAMBDA {
                        const Pack x = b * load(G(j - first) + k);
                        store(to + k, load(to + k) + (load(&pi[k]) > Pack{} ? x : Pack{}));
                    });
                }
                each(first, j);
            }
        });
        s_mean_.resize(static_cast<std::size_t>(count_));
        for (int a = 0; a < count_; ++a) s_mean_[a] = mean([&](int k) CLUSTERGLM_INLINE_LAMBDA { return load(&s_[a * K_ + k]); });
    }

    // q = P s at points that carry weight: so many rows by so many packs of points at a time.
    void multiply(const std::vector<double>& P) {
        q_.resize(static_cast<std::size_t>(count_) * K_);
        const auto some = [&]<int Rows, int Packs>(int b, int i) CLUSTERGLM_INLINE_LAMBDA {
            Pack sums[Rows][Packs] = {};
            for (int a = 0; a < count_; ++a) {
                Pack s[Packs];
                for (int m = 0; m < Packs; ++m) s[m] = load(&s_[a * K_ + active_[i + m] * kLanes]);
                for (int r = 0; r < Rows; ++r) {
                    const double by = P[static_cast<std::size_t>(b + r) * stride_ + a];
                    for (int m = 0; m < Packs; ++m) sums[r][m] += by * s[m];
                }
            }
            for (int r = 0; r < Rows; ++r)
                for (int m = 0; m < Packs; ++m) store(&q_[(b + r) * K_ + active_[i + m] * kLanes], sums[r][m]);
        };
        for (int b = 0; b < count_;) {
            const int rows = count_ - b >= 4 ? 4 : 1;
            int i = 0;
            for (; i + 2 <= actives_; i += 2) rows == 4 ? some.template operator()<4, 2>(b, i) : some.template operator()<1, 2>(b, i);
            if (i < actives_) rows == 4 ? some.template operator()<4, 1>(b, i) : some.template operator()<1, 1>(b, i);
            b += rows;
        }
    }

    void add_curvature(bool whole, double weight, double* block) {
        H_mean_.resize(static_cast<std::size_t>(rows_.n));
        sum_slopes(whole, [&](int first, int j) {
            H_mean_[j] = weight * mean([&](int k) CLUSTERGLM_INLINE_LAMBDA { return load(H(j - first) + k); });
        });
        for (int a = 0; a < count_; ++a)
            each_pack([&](int k) CLUSTERGLM_INLINE_LAMBDA { store(&s_[a * K_ + k], load(&s_[a * K_ + k]) - s_mean_[a]); });
        checkpoint(static_cast<std::int64_t>(K_) * count_ * count_ / 8);
        at_.clear();
        for (int i = 0; i < actives_; ++i)
            for (int l = 0; l < kLanes; ++l)
                if (pi[active_[i] * kLanes + l] > 0.0) at_.push_back(active_[i] * kLanes + l);
        across_s_.assign(at_.size() * stride_, 0.0), shared_s_.assign(across_s_.size(), 0.0);
        for (int a = 0; a < count_; ++a)
            for (std::size_t i = 0; i < at_.size(); ++i) {
                const double s = s_[a * K_ + at_[i]];
                across_s_[i * stride_ + a] = s, shared_s_[i * stride_ + a] = weight * pi[at_[i]] * s;
            }
        // So many rows of the block by so many packs at a time.
        const auto some = [&]<int Rows, int Packs>(int a, int b) CLUSTERGLM_INLINE_LAMBDA {
            Pack sums[Rows][Packs] = {};
            for (std::size_t i = 0; i < at_.size(); ++i) {
                const double *s = &across_s_[i * stride_ + b], *by = &shared_s_[i * stride_ + a];
                for (int r = 0; r < Rows; ++r)
                    for (int m = 0; m < Packs; ++m) sums[r][m] += by[r] * load(s + m * kLanes);
            }
            for (int r = 0; r < Rows; ++r)
                for (int m = 0; m < Packs; ++m) store(block + static_cast<std::size_t>(a + r) * stride_ + b + m * kLanes, sums[r][m]);
        };
        for (int a = 0; a < count_;) {
            const int rows = count_ - a >= kLanes ? kLanes : 1, last = a + rows;
            int b = 0;
            for (; b + 2 * kLanes <= stride_ && b < last; b += 2 * kLanes) rows > 1 ? some.template operator()<kLanes, 2>(a, b) : some.template operator()<1, 2>(a, b);
            if (b < last) rows > 1 ? some.template operator()<kLanes, 1>(a, b) : some.template operator()<1, 1>(a, b);
            a = last;
        }
        add_rows_squares(outside_, start_, rows_.n, H_mean_.data(), block, stride_);
    }
    std::vector<std::int32_t> at_;  // points that carry weight

    void contract(std::int64_t unit, bool whole, double weight, const CrossedOutputs& out) {
        const std::vector<double>& part = touched_.of(outside_, unit, in_.matrices);
        leverage_.resize(static_cast<std::size_t>(rows_.n));
        const auto P = [&](int a, int b) { return part[static_cast<std::size_t>(a) * stride_ + b]; };
        for (int j = 0; j < rows_.n; ++j) {
            leverage_[j] = 0.0;
            for (int w = 0; w < outside_.width; ++w)
                for (int x = 0; x < outside_.width; ++x) leverage_[j] += slopes(j)[w] * slopes(j)[x] * P(local(j)[w], local(j)[x]);
        }
        std::fill(c_.begin(), c_.end(), 0.0);
        sum_slopes(whole, [&](int first, int j) {
            each_pack([&](int k) CLUSTERGLM_INLINE_LAMBDA { store(&c_[k], load(&c_[k]) + leverage_[j] * load(H(j - first) + k)); });
        });
        checkpoint(static_cast<std::int64_t>(K_) * count_ * count_ / 4);
        multiply(part);
        q_mean_.resize(static_cast<std::size_t>(count_));
        for (int a = 0; a < count_; ++a) q_mean_[a] = mean([&](int k) CLUSTERGLM_INLINE_LAMBDA { return load(&q_[a * K_ + k]); });
        for (int a = 0; a < count_; ++a)
            each_pack([&](int k) CLUSTERGLM_INLINE_LAMBDA {
                const Pack s = load(&s_[a * K_ + k]);
                store(&c_[k], load(&c_[k]) + s * load(&q_[a * K_ + k]) - 2.0 * (s - s_mean_[a]) * q_mean_[a]);
            });
        const double T = mean([&](int k) CLUSTERGLM_INLINE_LAMBDA { return load(&c_[k]); });
        each_pack([&](int k) CLUSTERGLM_INLINE_LAMBDA { store(&c_[k], load(&c_[k]) - T); });
        if (out.means) write_posterior_of(unit, part, out);
        chunks(whole, [&](int first, int last) {
            collect(first, last, weight, out.rows, [&](int j, int k) CLUSTERGLM_INLINE_LAMBDA {
                Pack b{};
                for (int w = 0; w < outside_.width; ++w) b += slopes(j)[w] * (load(&q_[local(j)[w] * K_ + k]) - q_mean_[local(j)[w]]);
                return 0.5 * leverage_[j] * load(&I_[(j - first) * K_ + k]) + load(H(j - first) + k) * b + 0.5 * load(&c_[k]) * load(G(j - first) + k);
            });
            for (int j = first; j < last; ++j) {
                const double H_mean = mean([&](int k) CLUSTERGLM_INLINE_LAMBDA { return load(H(j - first) + k); });
                const double G_mean = mean([&](int k) CLUSTERGLM_INLINE_LAMBDA { return load(G(j - first) + k); });
                out.first[start_ + j] = weight * G_mean;
                for (int w = 0; w < outside_.width; ++w) {
                    const int a = local(j)[w];
                    double sum = mean([&](int k) CLUSTERGLM_INLINE_LAMBDA { return load(G(j - first) + k) * load(&q_[a * K_ + k]); }) - G_mean * q_mean_[a];
                    for (int x = 0; x < outside_.width; ++x) sum += H_mean * slopes(j)[x] * P(a, local(j)[x]);
                    out.direct[(start_ + j) * outside_.width + w] = weight * sum;
                }
            }
        });
    }

    // Second derivatives of the mean are Cov(u, (s - E s)(s - E s)' + B'diag(H)B), whose trace with P is the covariance with c.
    void write_posterior_of(std::int64_t unit, const std::vector<double>& P, const CrossedOutputs& out) const {
        write_posterior(unit, VectorOutputs{.means = out.means, .covariances = out.covariances});
        for (int t = 0; t < d(); ++t) {
            const double* own = u(t);
            for (int a = 0; a < count_; ++a)
                out.follows[(outside_.starts[unit] + a) * d() + t] =
                    mean([&](int k) CLUSTERGLM_INLINE_LAMBDA { return load(own + k) * (load(&s_[a * K_ + k]) - s_mean_[a]); });
            out.bends[unit * d() + t] = 0.5 * mean([&](int k) CLUSTERGLM_INLINE_LAMBDA { return load(own + k) * load(&c_[k]); });
        }
        const double* J = out.follows + outside_.starts[unit] * d();
        for (int t = 0; t < d(); ++t)
            for (int s = 0; s < d(); ++s) {
                double sum = 0.0;
                for (int a = 0; a < count_; ++a)
                    for (int b = 0; b < count_; ++b) sum += J[a * d() + t] * P[static_cast<std::size_t>(a) * stride_ + b] * J[b * d() + s];
                out.spreads[(unit * d() + t) * d() + s] = sum;
            }
    }

    void along(bool whole, double weight, const CrossedOutputs& out) {
        const double* eta = in_.direction + start_;
        std::fill(c_.begin(), c_.end(), 0.0);
        chunks(whole, [&](int first, int last) {
            for (int j = first; j < last; ++j)
                each_pack([&](int k) CLUSTERGLM_INLINE_LAMBDA { store(&c_[k], load(&c_[k]) + eta[j] * load(G(j - first) + k)); });
        });
        const double p = mean([&](int k) CLUSTERGLM_INLINE_LAMBDA { return load(&c_[k]); });
        each_pack([&](int k) CLUSTERGLM_INLINE_LAMBDA { store(&c_[k], load(&c_[k]) - p); });
        chunks(whole, [&](int first, int last) {
            collect(first, last, weight, out.rows,
                    [&](int j, int k) CLUSTERGLM_INLINE_LAMBDA { return eta[j] * load(H(j - first) + k) + load(&c_[k]) * load(G(j - first) + k); });
        });
    }
};

}  // namespace clusterglm
