// The likelihood of several effects without Python: values against plain loops over points, derivatives against central differences, the
// same bits for any number of threads. Under sanitizers, with clusters and points of all sizes.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "clusterglm/loops.hpp"
#include "clusterglm/response/binomial_cloglog.hpp"
#include "clusterglm/response/binomial_logit.hpp"
#include "clusterglm/response/binomial_probit.hpp"
#include "clusterglm/response/poisson_log.hpp"
#include "clusterglm/vector.hpp"

using namespace clusterglm;
using Values = std::vector<double>;

namespace {

int passed = 0, failed = 0;

void check_close(double got, double expected, double tolerance, const std::string& what) {
    const double error = std::fabs(got - expected) / (1.0 + std::fabs(expected));
    ++(error <= tolerance ? passed : failed);
    if (!(error <= tolerance)) std::printf("FAILED %s: %.3g\n", what.c_str(), error);
}

constexpr int p = 3;

struct Data {
    std::vector<std::int64_t> starts{0};
    Values X, a, b, offset, weights;
    std::uint64_t state = 4321;

    double uniform() {
        state = state * 6364136223846793005ULL + 1442695040888963407ULL;
        return static_cast<double>(state >> 11) * 0x1p-53;
    }
    Data(const std::vector<int>& sizes, bool poisson, bool unit) {
        for (const int n : sizes) {
            starts.push_back(starts.back() + n), weights.push_back(unit ? 1.0 : 0.5 + uniform());
            for (int j = 0; j < n; ++j) {
                for (int r = 0; r < p; ++r) X.push_back(r == 0 ? 1.0 : 2.0 * uniform() - 1.0);
                const double y = poisson ? std::floor(4.0 * uniform()) : uniform() < 0.6;
                a.push_back(y), b.push_back(poisson ? 1.0 : unit ? 1.0 - y : 2.5 * (1.0 - y)), offset.push_back(uniform() - 0.5);
            }
        }
    }
    Problem problem(bool unit) const {
        const auto m = static_cast<std::int64_t>(weights.size());
        return {m, starts.back(), p, starts.data(), X.data(), a.data(), b.data(), offset.data(), weights.data(), unit};
    }
};

VectorModel model_of(int d, const Values& theta) {
    VectorModel model{p - 1, d, d * (d + 1) / 2, {}, {}, {}, {}, {}};
    model.beta.assign(p, 0.0);
    for (int r = 0; r < p - 1; ++r) model.beta[r] = theta[r];
    int at = p - 1;
    for (int t = 0; t < d; ++t) {
        model.columns.push_back(p - 1 - t);
        for (int s = 0; s <= t; ++s) model.row.push_back(t), model.col.push_back(s), model.L[t][s] = theta[at++];
    }
    return model;
}

template <class R>
void test(const std::string& name, bool poisson, bool unit, int d, int across) {
    const Data data({1, 7, 4, 12, 3, 300}, poisson, unit);
    const Problem problem = data.problem(unit && !poisson);
    const auto m = static_cast<std::size_t>(problem.clusters);
    Values theta{0.3, -0.4};
    for (int e = 0; e < d * (d + 1) / 2; ++e) theta.push_back(0.7 - 0.3 * e);
    Values at, log_weights;
    std::vector<std::int64_t> kinds;
    int points = 1;
    for (int t = 0; t < d; ++t) points *= across;
    for (int k = 0; k < points; ++k) {
        at.resize(static_cast<std::size_t>(k + 1) * d);
        for (int t = d - 1, rest = k; t >= 0; --t, rest /= across) at[k * d + t] = 0.8 * (rest % across) - 0.4 * (across - 1);
        log_weights.push_back(-0.1 * k), kinds.push_back(k % 3);
    }
    const PointSet set(d, points, at.data(), log_weights.data(), kinds.data());
    Values centres(m * d, 0.2), factors(m * d * d, 0.0);
    for (std::size_t i = 0; i < m; ++i)
        for (int t = 0; t < d; ++t)
            for (int s = 0; s <= t; ++s) factors[(i * d + t) * d + s] = t == s ? 0.5 : 0.1;
    Values values(m), shares(m * set.kinds);
    const auto evaluate = [&](const Values& where, bool follow, int order, int threads, VectorOutputs out) {
        const VectorModel model = model_of(d, where);
        const VectorPlaces places{follow, true, centres.data(), factors.data()};
        Sum sum(model.parameters());
        evaluate_vector(loops_of<R>(), problem, model, set, places, order, {nullptr, problem.clusters}, out, threads, sum, [] { return false; });
        return sum;
    };
    VectorOutputs out;
    out.values = values.data(), out.shares = shares.data();
    const Sum sum = evaluate(theta, false, 2, 1, out);
    const VectorModel model = model_of(d, theta);
    for (std::size_t i = 0; i < m; ++i) {
        double total = 0.0, logdet = d * std::log(0.5);
        for (int k = 0; k < points; ++k) {
            double u[kMostEffects], g = log_weights[k];
            for (int t = 0; t < d; ++t) {
                u[t] = 0.2;
                for (int s = 0; s <= t; ++s) u[t] += (t == s ? 0.5 : 0.1) * at[k * d + s];
                g -= 0.5 * u[t] * u[t];
            }
            for (std::int64_t j = data.starts[i]; j < data.starts[i + 1]; ++j) {
                double lambda = problem.eta(j, model.beta.data());
                for (int t = 0; t < d; ++t)
                    for (int s = 0; s <= t; ++s) lambda += data.X[j * p + model.columns[t]] * model.L[t][s] * u[s];
                g += R::stable(lambda, data.a[j], data.b[j]).value;
            }
            total += std::exp(g + 300.0);
        }
        if (i + 1 < m) check_close(values[i], data.weights[i] * (std::log(total) - 300.0 + logdet), 1e-12, name + " value");
        double share = 0.0;
        for (int kind = 0; kind < set.kinds; ++kind) share += shares[i * set.kinds + kind];
        check_close(share, 1.0, 1e-12, name + " shares");
    }
    for (const int threads : {2, 5}) {
        const Sum again = evaluate(theta, false, 2, threads, {});
        check_close(again.value == sum.value && again.score == sum.score && again.hessian == sum.hessian, 1.0, 0.0, name + " threads");
    }
    for (const bool follow : {false, true}) {
        const Sum here = follow ? evaluate(theta, true, 1, 1, {}) : sum;
        for (std::size_t r = 0; r < theta.size(); ++r) {
            Values up = theta, down = theta;
            up[r] += 1e-5, down[r] -= 1e-5;
            const Sum ahead = evaluate(up, follow, 1, 1, {}), behind = evaluate(down, follow, 1, 1, {});
            check_close(here.score[r], (ahead.value - behind.value) / 2e-5, 1e-6, name + " score");
            for (std::size_t s = 0; s <= r && !follow; ++s)
                check_close(here.hessian[r * here.stride + s], (ahead.score[s] - behind.score[s]) / 2e-5, 1e-6, name + " Hessian");
        }
    }
}

template <class R>
void test_all(const std::string& name, bool poisson) {
    for (const bool unit : {false, true})
        for (const int across : {1, 3, 6}) {
            test<R>(name + " 1", poisson, unit, 1, across);
            test<R>(name + " 2", poisson, unit, 2, across);
        }
    test<R>(name + " 3", poisson, true, 3, 4);
    test<R>(name + " in chunks", poisson, true, 2, 40);
}

}  // namespace

int main() {
    test_all<BinomialLogit>("logit", false);
    test_all<BinomialProbit>("probit", false);
    test_all<BinomialCloglog>("cloglog", false);
    test_all<PoissonLog>("Poisson", true);
    std::printf("vector: %d passed, %d failed\n", passed, failed);
    return failed > 0;
}
