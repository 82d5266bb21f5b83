// The core without Python: values against plain sums in long double, derivatives against central differences, and the same
// bits for any number of threads. `make test-core` builds it with the address and undefined-behaviour sanitizers.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <numbers>
#include <string>
#include <vector>

#include "clusterglm/distribution/cauchy.hpp"
#include "clusterglm/distribution/gaussian.hpp"
#include "clusterglm/distribution/logistic.hpp"
#include "clusterglm/distribution/student_t.hpp"
#include "clusterglm/evaluate.hpp"
#include "clusterglm/intercept_loops.hpp"
#include "clusterglm/pooled.hpp"
#include "clusterglm/response/binomial_cloglog.hpp"
#include "clusterglm/response/binomial_logit.hpp"
#include "clusterglm/response/binomial_probit.hpp"
#include "clusterglm/response/poisson_log.hpp"

using namespace clusterglm;
using Real = long double;
using Values = std::vector<double>;

namespace {

int passed = 0, failed = 0;

void check(bool good, const std::string& what, double error) {
    ++(good ? passed : failed);
    if (!good) std::printf("FAILED %s: %.3g\n", what.c_str(), error);
}

// Largest difference, relative where the expected value is large. A NaN anywhere fails.
void check_close(const Values& got, const Values& expected, double tolerance, const std::string& what) {
    double worst = 0.0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
        const double error = std::fabs(got[i] - expected[i]) / (1.0 + std::fabs(expected[i]));
        if (!(error <= worst)) worst = error;
    }
    check(got.size() == expected.size() && worst <= tolerance, what, worst);
}

bool same_bits(const Values& x, const Values& y) { return x.size() == y.size() && std::memcmp(x.data(), y.data(), x.size() * sizeof(double)) == 0; }

// ---- responses and distributions, written plainly

Real normal_cdf(Real x) { return 0.5L * std::erfc(-x / std::numbers::sqrt2_v<Real>); }

struct ResponseCase {
    const char* name;
    bool counts;
    std::function<Real(Real lambda, Real a, Real b)> log_p;
};

struct DistributionCase {
    const char* name;
    std::shared_ptr<const LocationMap> normal, density;
    std::function<Real(Real s)> quantile_of_normal, log_density;
};

// F^-1(Phi(s)) of Student's t with two degrees of freedom.
Real student_2(Real s) {
    const Real tail = normal_cdf(-std::fabs(s)), centre = std::erf(std::fabs(s) / std::numbers::sqrt2_v<Real>);
    return std::copysign(centre * std::sqrt(2.0L / (4.0L * tail * (1.0L - tail))), s);
}

// What likelihood/scalar/location.py hands to the core: Chebyshev coefficients of asinh T on pieces.
StudentT student_t_2() {
    constexpr int kTerms = 14, kPieces = 100;
    constexpr double kWidth = 0.25;
    PiecewiseChebyshev table{{0.0}, kTerms, {}};
    for (int piece = 0; piece < kPieces; ++piece) {
        table.edges.push_back(kWidth * (piece + 1));
        for (int i = 0; i < kTerms; ++i) {
            Real sum = 0.0L;
            for (int k = 0; k < kTerms; ++k) {
                const Real angle = std::numbers::pi_v<Real> * (k + 0.5L) / kTerms;
                sum += std::asinh(student_2(kWidth * (piece + 0.5L * (std::cos(angle) + 1.0L)))) * std::cos(i * angle);
            }
            table.coefficients.push_back(static_cast<double>(sum * (i == 0 ? 1.0L : 2.0L) / kTerms));
        }
    }
    return StudentT(2.0, std::move(table));
}

template <class D>
DistributionCase distribution(const char* name, D d, std::function<Real(Real)> quantile, std::function<Real(Real)> log_density) {
    auto density = std::make_shared<DensityScale<D>>(d);
    if constexpr (std::is_same_v<D, Gaussian>)
        return {name, std::make_shared<GaussianMap>(), density, quantile, log_density};  // the linear map, and the same as any other
    else
        return {name, std::make_shared<NormalScale<D>>(d), density, quantile, log_density};
}

std::vector<DistributionCase> distributions() {
    constexpr Real kPi = std::numbers::pi_v<Real>;
    return {
        distribution("gaussian", Gaussian{}, [](Real s) { return s; }, [](Real t) { return -0.5L * t * t - 0.5L * std::log(2.0L * kPi); }),
        distribution("logistic", Logistic{}, [](Real s) { return std::log(normal_cdf(s)) - std::log(normal_cdf(-s)); },
                     [](Real t) { return -t - 2.0L * std::log1p(std::exp(-t)); }),
        distribution("cauchy", Cauchy{}, [](Real s) { return std::copysign(1.0L / std::tan(kPi * normal_cdf(-std::fabs(s))), s); },
                     [](Real t) { return -std::log(kPi * (1.0L + t * t)); }),
        distribution("t(2)", student_t_2(), student_2, [](Real t) { return -1.5L * std::log(2.0L + t * t); }),
    };
}

// ---- small made-up data

struct Data {
    std::vector<std::int64_t> starts{0};
    Values X, a, b, offset, weights;
    int p = 3;
    std::uint64_t state = 20240229;

    double uniform() {  // in (0, 1), by a linear congruential generator
        state = state * 6364136223846793005u + 1442695040888963407u;
        return (static_cast<double>(state >> 11) + 0.5) * 0x1p-53;
    }

    Data(const std::vector<int>& sizes, bool counts, bool unit) {
        for (int size : sizes) {
            weights.push_back(unit ? 1.0 : 0.5 + uniform());
            const double shift = 2.0 * uniform() - 1.0;
            for (int j = 0; j < size; ++j) {
                const double x1 = 2.0 * uniform() - 1.0, x2 = uniform() < 0.4 ? 1.0 : 0.0;
                X.insert(X.end(), {1.0, x1, x2});
                offset.push_back(0.4 * (uniform() - 0.5));
                const bool event = uniform() < 1.0 / (1.0 + std::exp(0.3 - shift - 0.6 * x1));
                if (counts) {
                    const double weight = unit ? 1.0 : 0.5 + uniform();
                    a.push_back(weight * std::floor(4.0 * uniform() * uniform()));
                    b.push_back(weight);
                } else {
                    a.push_back(unit ? (event ? 1.0 : 0.0) : std::floor(3.0 * uniform()) + (event ? 0.7 : 0.0));
                    b.push_back(unit ? (event ? 0.0 : 1.0) : std::floor(3.0 * uniform()) + 0.3);
                }
            }
            starts.push_back(starts.back() + size);
        }
    }

    Problem problem(bool unit) const {
        return {static_cast<std::int64_t>(starts.size()) - 1, starts.back(), p, starts.data(), X.data(), a.data(), b.data(), offset.data(),
                weights.data(), unit};
    }
};

const Values kTheta{-0.3, 0.5, 0.4, 0.8};

// ---- quadrature rules

// Gauss-Hermite as the core takes it: c = sqrt(2) x, log h + x^2 + log(2)/2; roots by Newton from orthonormal Hermite functions.
Rule adaptive(int nodes) {
    Values c, log_weight;
    const Real root_pi4 = std::pow(std::numbers::pi_v<Real>, -0.25L);
    const auto hermite = [&](Real x, Real& before) {  // orthonormal polynomials
        Real h0 = 0.0L, h1 = root_pi4;
        for (int i = 0; i < nodes; ++i) {
            const Real h2 = x * std::sqrt(2.0L / (i + 1)) * h1 - std::sqrt(static_cast<Real>(i) / (i + 1)) * h0;
            h0 = h1, h1 = h2;
        }
        before = h0;
        return h1;
    };
    const Real edge = std::sqrt(2.0L * nodes + 1.0L);
    const int grid = 400 * nodes;
    Real before = 0.0L, last = hermite(-edge, before);
    for (int i = 1; i <= grid; ++i) {  // a change of sign, then bisection: slow and sure
        Real low = -edge + 2.0L * edge * (i - 1) / grid, high = -edge + 2.0L * edge * i / grid;
        const Real value = hermite(high, before);
        if ((last < 0) != (value < 0)) {
            for (int step = 0; step < 90; ++step) {
                const Real middle = 0.5L * (low + high);
                ((hermite(middle, before) < 0) == (last < 0) ? low : high) = middle;
            }
            const Real x = 0.5L * (low + high);
            hermite(x, before);
            c.push_back(static_cast<double>(std::numbers::sqrt2_v<Real> * x));
            log_weight.push_back(static_cast<double>(-std::log(nodes * before * before) + x * x + 0.5L * std::log(2.0L)));
        }
        last = value;
    }
    check(static_cast<int>(c.size()) == nodes, "as many Hermite roots as nodes", static_cast<double>(c.size()));
    return Rule(true, true, c.data(), log_weight.data(), static_cast<int>(c.size()));
}

Rule trapezoid(int nodes, double half_width) {
    Values s(nodes), log_weight(nodes, std::log(2.0 * half_width / (nodes - 1)));
    for (int k = 0; k < nodes; ++k) s[k] = half_width * (2.0 * k / (nodes - 1) - 1.0);
    return Rule(false, false, s.data(), log_weight.data(), nodes);
}

// A trapezoid rule about each cluster's mode: so fine that derivatives need not know where its nodes lie.
Rule about_mode(int nodes, double half_width) {
    Rule rule = trapezoid(nodes, half_width);
    rule.follows = true;
    return rule;
}

// log of the integral over s by a trapezoid rule, cluster after cluster, with nothing clever.
double brute_force(const Data& data, const Values& theta, const ResponseCase& response, const DistributionCase& d, bool normal, int nodes,
                   Real half_width) {
    Real total = 0.0L;
    for (std::size_t i = 0; i + 1 < data.starts.size(); ++i) {
        Real top = -INFINITY;
        std::vector<Real> logs;
        for (int k = 0; k < nodes; ++k) {
            const Real s = half_width * (2.0L * k / (nodes - 1) - 1.0L);
            const Real m = theta.back() * (normal ? d.quantile_of_normal(s) : s);
            Real log_p = normal ? -0.5L * s * s - 0.5L * std::log(2.0L * std::numbers::pi_v<Real>) : d.log_density(s);
            for (std::int64_t j = data.starts[i]; j < data.starts[i + 1]; ++j) {
                Real eta = data.offset[j];
                for (int r = 0; r < data.p; ++r) eta += static_cast<Real>(data.X[j * data.p + r]) * theta[r];
                log_p += response.log_p(eta + m, data.a[j], data.b[j]);
            }
            logs.push_back(log_p);
            top = std::max(top, log_p);
        }
        Real sum = 0.0L;
        for (Real x : logs) sum += std::exp(x - top);
        total += data.weights[i] * (top + std::log(sum * 2.0L * half_width / (nodes - 1)));
    }
    return static_cast<double>(total);
}

// ---- the core, called plainly

struct Result {
    double value;
    Values score, hessian;
};

template <class R>
Result marginal(const Problem& problem, const LocationMap& map, const Rule& rule, const Values& theta, int order, int threads = 1) {
    Values modes(problem.clusters, 0.0);
    const int q = problem.p + 1;
    Sum sum(q);
    evaluate(intercept_loops_of<R>(), problem, map, rule, theta.data(), order, Selection{nullptr, problem.clusters}, modes.data(), PerCluster{}, threads, sum,
                [] { return false; });
    Result out{sum.value, Values(sum.score.begin(), sum.score.begin() + q), Values(q * q)};
    sum.copy_hessian(out.hessian.data());
    return out;
}

template <class R>
Result without_clusters(const Problem& problem, const Values& beta, int order, int threads = 1) {
    Sum sum(problem.p);
    pooled<R>(problem, beta.data(), order, nullptr, threads, sum, [] { return false; });
    Result out{sum.value, Values(sum.score.begin(), sum.score.begin() + problem.p), Values(problem.p * problem.p)};
    sum.copy_hessian(out.hessian.data());
    return out;
}

// Everything the core says of the clusters `chosen`: value, score, Hessian, and per cluster value, score, intercept and mode.
template <class R>
Values everything(const Problem& problem, const LocationMap& map, const Rule& rule, const std::vector<std::int64_t>& chosen) {
    const std::int64_t m = problem.clusters;
    const int q = problem.p + 1;
    Values modes(m), values(m), scores(m * q), ends(m), posterior(2 * m), out(1 + q + q * q);
    Sum sum(q);
    evaluate(intercept_loops_of<R>(), problem, map, rule, kTheta.data(), 2, Selection{chosen.data(), static_cast<std::int64_t>(chosen.size())}, modes.data(),
                PerCluster{values.data(), scores.data(), ends.data(), posterior.data()}, 1, sum, [] { return false; });
    out[0] = sum.value;
    std::copy_n(sum.score.begin(), q, &out[1]);
    sum.copy_hessian(&out[1 + q]);
    for (const Values& more : {values, scores, ends, posterior, modes}) out.insert(out.end(), more.begin(), more.end());
    return out;
}

// Clusters share lanes with others of another size, with none, or with a copy of themselves: it must not matter to any of them.
template <class R>
void test_company(bool counts, bool unit, const LocationMap& map, const Rule& rule, const std::string& what) {
    for (const std::vector<int>& sizes : {std::vector<int>{5}, {1, 2}, {3, 3, 3, 3, 3}, {7, 1, 4, 2, 2, 9, 5, 30, 1, 3, 6}}) {
        const Data data(sizes, counts, unit);
        const Problem problem = data.problem(unit);
        std::vector<std::int64_t> together;
        Values apart;
        for (std::int64_t i = 0; i < problem.clusters; i += 1 + (i == 2)) {  // cluster 3 stays out
            together.push_back(i);
            const Values one = everything<R>(problem, map, rule, {i});
            apart.resize(one.size());
            for (std::size_t k = 0; k < one.size(); ++k) apart[k] += one[k];
        }
        check_close(everything<R>(problem, map, rule, together), apart, 1e-11, what + ", company of " + std::to_string(sizes.size()));
    }
}

// Score and Hessian against central differences of fourth order of value and score. The step cannot be short: a mode is
// known to 1e-9, which leaves noise of that size in the value of a coarse rule.
void check_derivatives(const std::function<Result(const Values&, int)>& function, const Values& theta, const std::string& what) {
    constexpr double kStep = 1e-4, kTolerance = 2e-6;
    const Result at = function(theta, 2);
    const std::size_t q = theta.size();
    Values score(q), hessian(q * q);
    for (std::size_t r = 0; r < q; ++r) {
        const auto moved = [&](double steps) {
            Values there = theta;
            there[r] += steps * kStep;
            return function(there, 1);
        };
        const Result above = moved(1.0), below = moved(-1.0), far_above = moved(2.0), far_below = moved(-2.0);
        const auto slope = [](double up, double down, double far_up, double far_down) {
            return (8.0 * (up - down) - (far_up - far_down)) / (12.0 * kStep);
        };
        score[r] = slope(above.value, below.value, far_above.value, far_below.value);
        for (std::size_t s = 0; s < q; ++s) hessian[r * q + s] = slope(above.score[s], below.score[s], far_above.score[s], far_below.score[s]);
    }
    check_close(at.score, score, kTolerance, what + ": score");
    check_close(at.hessian, hessian, kTolerance, what + ": Hessian");
    check_close({function(theta, 0).value}, {at.value}, 1e-14, what + ": value alone");
    check_close(function(theta, 1).score, at.score, 1e-12, what + ": score without Hessian");
}

template <class R>
void test_response(const ResponseCase& response, const std::vector<DistributionCase>& all_distributions) {
    const std::vector<int> small{1, 2, 3, 5, 8, 1, 4}, large{3, 300, 70};
    const Rule laplace = adaptive(1), five = adaptive(5), many = adaptive(60), coarse = trapezoid(41, 6.0), fine = about_mode(401, 24.0);
    for (const bool unit : {true, false}) {
        if (unit && response.counts) continue;
        const Data data(small, response.counts, unit), big(large, response.counts, unit);
        const Problem problem = data.problem(unit), big_problem = big.problem(unit);
        const std::string name = std::string(response.name) + (unit ? " 0/1" : " weighted");

        const auto no_clusters = [&](const Values& beta, int order) { return without_clusters<R>(problem, beta, order); };
        const Values beta(kTheta.begin(), kTheta.end() - 1);
        Real plain = 0.0L;
        for (std::size_t i = 0; i + 1 < data.starts.size(); ++i)
            for (std::int64_t j = data.starts[i]; j < data.starts[i + 1]; ++j)
                plain += data.weights[i] * response.log_p(problem.eta(j, beta.data()), data.a[j], data.b[j]);
        check_close({no_clusters(beta, 0).value}, {static_cast<double>(plain)}, 1e-13, name + ", pooled: value");
        check_derivatives(no_clusters, beta, name + ", pooled");

        for (const DistributionCase& d : all_distributions) {
            const std::string both = name + ", " + d.name;
            const double dense = brute_force(data, kTheta, response, d, true, 1601, 9.0L);
            check_close({marginal<R>(problem, *d.normal, many, kTheta, 0).value}, {dense}, 1e-4, both + ": 60 nodes");
            check_close({marginal<R>(problem, *d.normal, trapezoid(401, 9.0), kTheta, 0).value}, {dense}, 1e-9, both + ": dense rule");
            for (const bool normal : {true, false}) {
                if (normal == false && d.normal == d.density) continue;
                const LocationMap& map = normal ? *d.normal : *d.density;
                const std::string where = both + (normal ? ", normal scale" : ", density scale");
                const double same_rule = brute_force(data, kTheta, response, d, normal, 41, 6.0L);
                check_close({marginal<R>(problem, map, coarse, kTheta, 0).value}, {same_rule}, 1e-12, where + ": 41 fixed nodes");
                const auto by = [&](const Problem& of, const Rule& rule) {
                    return [&](const Values& theta, int order) { return marginal<R>(of, map, rule, theta, order); };
                };
                test_company<R>(response.counts, unit, map, five, where + ", 5 nodes");
                test_company<R>(response.counts, unit, map, coarse, where + ", fixed nodes");
                check_derivatives(by(problem, laplace), kTheta, where + ", Laplace");
                check_derivatives(by(problem, five), kTheta, where + ", 5 nodes");
                check_derivatives(by(problem, coarse), kTheta, where + ", fixed nodes");
                check_derivatives(by(big_problem, five), kTheta, where + ", long clusters");
                check_derivatives(by(problem, five), {2.0, -4.0, 3.0, 0.1}, where + ", far away");
                if (!map.log_concave() || !normal) continue;  // heavy tails reach beyond any number of omegas
                check_close({marginal<R>(problem, map, fine, kTheta, 0).value}, {dense}, 1e-9, where + ": fine rule about the mode");
                check_derivatives(by(problem, fine), kTheta, where + ", fine rule about the mode");
                check_derivatives(by(big_problem, about_mode(41, 9.0)), kTheta, where + ", long clusters, rule about the mode");
            }
        }
    }

    // More blocks than threads; which thread takes which is up to chance, the result must not be.
    const std::vector<int> sizes(1000, 3);
    const Data data(sizes, response.counts, !response.counts);
    const Problem problem = data.problem(!response.counts);
    const Values beta(kTheta.begin(), kTheta.end() - 1);
    for (const DistributionCase& d : all_distributions) {
        const Result one = marginal<R>(problem, *d.normal, five, kTheta, 2, 1), three = marginal<R>(problem, *d.normal, five, kTheta, 2, 3);
        const bool same = same_bits({one.value}, {three.value}) && same_bits(one.score, three.score) && same_bits(one.hessian, three.hessian);
        check(same, std::string(response.name) + ", " + d.name + ": the same bits with 3 threads", one.value - three.value);
    }
    const Result one = without_clusters<R>(problem, beta, 2, 1), three = without_clusters<R>(problem, beta, 2, 3);
    const bool same = same_bits({one.value}, {three.value}) && same_bits(one.score, three.score) && same_bits(one.hessian, three.hessian);
    check(same, std::string(response.name) + ", pooled: the same bits with 3 threads", one.value - three.value);

    // Weights of 1 need not be looked at; rows of 0 and 1 then share logarithms, unless their product could overflow.
    Data equal(sizes, response.counts, !response.counts);
    std::fill(equal.weights.begin(), equal.weights.end(), 1.0);
    const Problem looked_at = equal.problem(!response.counts);
    Problem taken_for_granted = looked_at;
    taken_for_granted.weighted = false;
    for (const double scale : {1.0, 30.0, 1000.0}) {
        Values there = beta;
        for (double& x : there) x *= scale;
        const Result slow = without_clusters<R>(looked_at, there, 2), fast = without_clusters<R>(taken_for_granted, there, 2);
        const std::string what = std::string(response.name) + ", pooled: weights of 1";
        check_close({fast.value}, {slow.value}, 1e-13, what);
        check_close(fast.score, slow.score, 1e-13, what + ", score");
        check_close(fast.hessian, slow.hessian, 1e-13, what + ", Hessian");
    }
}

// x y, and 0 where x is 0 and y infinite.
Real times(Real x, Real y) { return x > 0 ? x * y : 0.0L; }

}  // namespace

int main() {
    const std::vector<DistributionCase> all_distributions = distributions();
    test_response<BinomialLogit>(
        {"logit", false, [](Real t, Real a, Real b) { return -times(a, std::log1p(std::exp(-t))) - times(b, std::log1p(std::exp(t))); }},
        all_distributions);
    test_response<BinomialCloglog>(
        {"cloglog", false, [](Real t, Real a, Real b) { return times(a, std::log(-std::expm1(-std::exp(t)))) - times(b, std::exp(t)); }},
        all_distributions);
    test_response<BinomialProbit>({"probit", false,
                                   [](Real t, Real a, Real b) {
                                       return times(a, std::log(normal_cdf(t))) + times(b, std::log(normal_cdf(-t)));
                                   }},
                                  all_distributions);
    test_response<PoissonLog>({"poisson", true, [](Real t, Real a, Real b) { return a * t - times(b, std::exp(t)); }}, all_distributions);
    std::printf("%d passed, %d failed\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
