// The likelihood of nested effects without Python: values against plain loops over points, derivatives against central differences, the
// same bits for any number of threads. Under sanitizers, with units, children and points of all sizes.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "clusterglm/nested.hpp"
#include "clusterglm/loops.hpp"
#include "clusterglm/response/binomial_cloglog.hpp"
#include "clusterglm/response/binomial_logit.hpp"
#include "clusterglm/response/binomial_probit.hpp"
#include "clusterglm/response/poisson_log.hpp"

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
    std::vector<std::int64_t> starts{0}, first_child{0}, child_starts{0};
    Values X, a, b, offset, weights;
    std::uint64_t state = 4321;

    double uniform() {
        state = state * 6364136223846793005ULL + 1442695040888963407ULL;
        return static_cast<double>(state >> 11) * 0x1p-53;
    }
    Data(const std::vector<std::vector<int>>& units, bool poisson, bool unit) {
        for (const auto& children : units) {
            for (const int n : children) {
                child_starts.push_back(child_starts.back() + n);
                for (int j = 0; j < n; ++j) {
                    for (int r = 0; r < p; ++r) X.push_back(r == 0 ? 1.0 : 2.0 * uniform() - 1.0);
                    const double y = poisson ? std::floor(4.0 * uniform()) : uniform() < 0.6;
                    a.push_back(y), b.push_back(poisson ? 1.0 : unit ? 1.0 - y : 2.5 * (1.0 - y)), offset.push_back(uniform() - 0.5);
                }
            }
            starts.push_back(child_starts.back()), first_child.push_back(first_child.back() + static_cast<std::int64_t>(children.size()));
            weights.push_back(unit ? 1.0 : 0.5 + uniform());
        }
    }
    Problem problem(bool unit) const {
        const auto m = static_cast<std::int64_t>(weights.size());
        return {m, starts.back(), p, starts.data(), X.data(), a.data(), b.data(), offset.data(), weights.data(), unit};
    }
};

NestedLevel level_of(int d, const Values& theta, int& at, int first_column) {
    NestedLevel level{d, d * (d + 1) / 2, {}, {}, {}, {}};
    for (int t = 0; t < d; ++t) {
        level.columns.push_back((first_column + t) % p);
        for (int s = 0; s <= t; ++s) level.row.push_back(t), level.col.push_back(s), level.L[t][s] = theta[at++];
    }
    return level;
}

PointSet points(int d, int across) {
    int count = 1;
    for (int t = 0; t < d; ++t) count *= across;
    Values at(static_cast<std::size_t>(count) * d), log_weights;
    for (int k = 0; k < count; ++k) {
        for (int t = d - 1, rest = k; t >= 0; --t, rest /= across) at[k * d + t] = 0.8 * (rest % across) - 0.4 * (across - 1);
        log_weights.push_back(-0.1 * k);
    }
    return {d, count, at.data(), log_weights.data(), nullptr};
}

// Those of a set that are none of its padding.
template <class Body>
void each_point(const PointSet& set, const Body& body) {
    for (int k = 0; k < set.size; ++k)
        if (set.kind[k] >= 0) body(k);
}

template <class R>
void test(const std::string& name, bool poisson, bool unit, int d1, int d2, int across) {
    const Data data({{1, 7}, {4}, {12, 1, 1, 3}, {300, 2}}, poisson, unit);
    const Problem problem = data.problem(unit && !poisson);
    const auto m = data.weights.size(), children = data.child_starts.size() - 1;
    Values theta{0.3, -0.4};
    for (int e = 0; e < d1 * (d1 + 1) / 2 + d2 * (d2 + 1) / 2; ++e) theta.push_back(0.7 - 0.2 * e);
    const PointSet upper = points(d1, across), lower = points(d2, across + 1);
    Values centres1(m * d1, 0.2), factors1(m * d1 * d1);
    Values centres2(children * d2, -0.1), slopes2(children * d2 * d1, -0.3), factors2(children * d2 * d2);
    const auto triangle = [](int r, int s) { return r == s ? 0.5 : r > s ? 0.1 : 0.0; };
    for (std::size_t i = 0; i < factors1.size(); ++i) factors1[i] = triangle(static_cast<int>(i) / d1 % d1, static_cast<int>(i) % d1);
    for (std::size_t i = 0; i < factors2.size(); ++i) factors2[i] = triangle(static_cast<int>(i) / d2 % d2, static_cast<int>(i) % d2);
    const auto model_of = [&](const Values& where) {
        NestedModel model{p - 1, {where[0], where[1], 0.0}, {}, {}, data.first_child.data(), data.child_starts.data()};
        int at = p - 1;
        model.upper = level_of(d1, where, at, 0), model.lower = level_of(d2, where, at, 2);
        return model;
    };
    const auto evaluate = [&](const Values& where, bool follow, int order, int threads, NestedOutputs out) {
        const NestedModel model = model_of(where);
        const NestedPlaces places{follow, true, centres1.data(), factors1.data(), centres2.data(), slopes2.data(), factors2.data()};
        Sum sum(model.parameters());
        evaluate_nested(loops_of<R>(), problem, model, upper, lower, places, order, {nullptr, problem.clusters}, out, threads, sum, [] { return false; });
        return sum;
    };
    Values values(m), means1(m * d1), covariances1(m * d1 * d1), means2(children * d2), covariances2(children * d2 * d2), across2(children * d2 * d1);
    NestedOutputs out;
    out.values = values.data(), out.means1 = means1.data(), out.covariances1 = covariances1.data();
    out.means2 = means2.data(), out.covariances2 = covariances2.data(), out.across = across2.data();
    const Sum sum = evaluate(theta, false, 2, 1, out);
    const NestedModel model = model_of(theta);
    const auto slope = [&](const NestedLevel& level, std::int64_t j, const double* u) {
        double lambda = 0.0;
        for (int t = 0; t < level.d; ++t)
            for (int s = 0; s <= t; ++s) lambda += data.X[j * p + level.columns[t]] * level.L[t][s] * u[s];
        return lambda;
    };
    for (std::size_t i = 0; i + 1 < m; ++i) {
        double total = 0.0;
        each_point(upper, [&](int k) {
            double u[kMostEffects], g = upper.log_weight[k] + d1 * std::log(0.5);
            for (int t = 0; t < d1; ++t) {
                u[t] = 0.2;
                for (int s = 0; s <= t; ++s) u[t] += triangle(t, s) * upper.coordinate(s)[k];
                g -= 0.5 * u[t] * u[t];
            }
            for (std::int64_t c = data.first_child[i]; c < data.first_child[i + 1]; ++c) {
                double inner = 0.0;
                each_point(lower, [&](int l) {
                    double v[kMostEffects], h = lower.log_weight[l] + d2 * std::log(0.5);
                    for (int t = 0; t < d2; ++t) {
                        v[t] = -0.1;
                        for (int s = 0; s < d1; ++s) v[t] += -0.3 * (u[s] - 0.2);
                        for (int s = 0; s <= t; ++s) v[t] += triangle(t, s) * lower.coordinate(s)[l];
                        h -= 0.5 * v[t] * v[t];
                    }
                    for (std::int64_t j = data.child_starts[c]; j < data.child_starts[c + 1]; ++j) {
                        const double lambda = problem.eta(j, model.beta.data()) + slope(model.upper, j, u) + slope(model.lower, j, v);
                        h += R::stable(lambda, data.a[j], data.b[j]).value;
                    }
                    inner += std::exp(h);
                });
                g += std::log(inner);
            }
            total += std::exp(g);
        });
        check_close(values[i], data.weights[i] * std::log(total), 1e-12, name + " value");
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
        for (const int across : {1, 3, 6}) test<R>(name + " 1/1", poisson, unit, 1, 1, across);
    test<R>(name + " 2/1", poisson, true, 2, 1, 3);
    test<R>(name + " 1/2", poisson, false, 1, 2, 3);
    test<R>(name + " in chunks", poisson, true, 1, 1, 25);
}

}  // namespace

int main() {
    test_all<BinomialLogit>("logit", false);
    test_all<BinomialProbit>("probit", false);
    test_all<BinomialCloglog>("cloglog", false);
    test_all<PoissonLog>("Poisson", true);
    std::printf("nested: %d passed, %d failed\n", passed, failed);
    return failed > 0;
}
