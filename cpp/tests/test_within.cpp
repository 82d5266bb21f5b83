// Profile and conditional likelihood without Python: values against bisection and against elementary symmetric functions in
// long double, derivatives against central differences, and the same bits for any number of threads.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "clusterglm/conditional.hpp"
#include "clusterglm/profile.hpp"
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

void check_close(double got, double expected, double tolerance, const std::string& what) {
    const double error = std::fabs(got - expected) / (1.0 + std::fabs(expected));
    check(error <= tolerance, what, error);
}

// Plain pseudo-random data: p = 3, clusters of the given sizes, and sometimes several trials a row.
struct Data {
    static constexpr int p = 3;
    std::vector<std::int64_t> starts{0};
    Values X, a, b, offset, weights;
    std::uint64_t state = 12345;

    double uniform() {
        state = state * 6364136223846793005ULL + 1442695040888963407ULL;
        return static_cast<double>(state >> 11) * 0x1p-53;
    }
    Data(const std::vector<int>& sizes, bool counts, bool grouped) {
        for (const int size : sizes) {
            starts.push_back(starts.back() + size);
            weights.push_back(0.5 + uniform());
            for (int j = 0; j < size; ++j) {
                for (int r = 0; r < p; ++r) X.push_back(4.0 * uniform() - 2.0);
                offset.push_back(uniform() - 0.5);
                const int trials = grouped ? 1 + static_cast<int>(4 * uniform()) : 1;
                int y = 0;
                for (int t = 0; t < trials; ++t) y += uniform() < 0.5;
                a.push_back(counts ? static_cast<int>(3 * uniform()) : y);
                b.push_back(counts ? 1.0 : trials - y);
            }
        }
    }
    Problem problem(bool unit) const {
        return {static_cast<std::int64_t>(weights.size()), starts.back(), p, starts.data(), X.data(), a.data(), b.data(), offset.data(), weights.data(), unit};
    }
};

struct Result {
    double value;
    Values score, hessian, gammas;
};

bool never() { return false; }

Result finish(const Sum& sum, Values gammas) {
    Values hessian(static_cast<std::size_t>(sum.q) * sum.q);
    sum.copy_hessian(hessian.data());
    return {sum.value, {sum.score.begin(), sum.score.begin() + sum.q}, hessian, std::move(gammas)};
}

template <class R>
Result by_profile(const Problem& problem, const Values& beta, int order, int threads = 1, double start = NAN) {
    Sum sum(problem.p);
    Values gammas(static_cast<std::size_t>(problem.clusters), start);
    profile<R>(problem, beta.data(), order, gammas.data(), {}, threads, sum, never);
    return finish(sum, gammas);
}

Result by_condition(const Problem& problem, const Values& beta, int order, int threads = 1) {
    Sum sum(problem.p);
    Values gammas(static_cast<std::size_t>(problem.clusters), NAN);
    conditional(problem, beta.data(), order, gammas.data(), nullptr, threads, sum, never);
    return finish(sum, gammas);
}

// The profile value by bisection on the slope, row by row with the responses' slow formulas.
template <class R>
double bisected(const Problem& problem, const Values& beta, bool counts) {
    Real total = 0;
    for (std::int64_t c = 0; c < problem.clusters; ++c) {
        Real A = 0, B = 0;
        for (std::int64_t j = problem.starts[c]; j < problem.starts[c + 1]; ++j) A += problem.a[j], B += problem.b[j];
        if (A == 0 || (!counts && B == 0)) continue;
        double low = -800.0, high = 800.0;
        for (int step = 0; step < 200; ++step) {
            const double middle = 0.5 * (low + high);
            Real slope = 0;
            for (std::int64_t j = problem.starts[c]; j < problem.starts[c + 1]; ++j)
                slope += R::stable(problem.eta(j, beta.data()) + middle, problem.a[j], problem.b[j]).G;
            (slope > 0 ? low : high) = middle;
        }
        for (std::int64_t j = problem.starts[c]; j < problem.starts[c + 1]; ++j)
            total += problem.cluster_weights[c] * R::stable(problem.eta(j, beta.data()) + low, problem.a[j], problem.b[j]).value;
    }
    return static_cast<double>(total);
}

double by_symmetric_functions(const Problem& problem, const Values& beta) {
    Real total = 0;
    for (std::int64_t c = 0; c < problem.clusters; ++c) {
        std::vector<Real> e{1.0L};
        Real chosen = 0, d = 0, trials = 0;
        for (std::int64_t j = problem.starts[c]; j < problem.starts[c + 1]; ++j) {
            const double eta = problem.eta(j, beta.data());
            chosen += problem.a[j] * eta, d += problem.a[j], trials += problem.a[j] + problem.b[j];
            for (int t = 0; t < problem.a[j] + problem.b[j]; ++t) {
                e.push_back(0);
                for (std::size_t k = e.size() - 1; k > 0; --k) e[k] += e[k - 1] * std::exp(static_cast<Real>(eta));
            }
        }
        if (d > 0 && d < trials) total += problem.cluster_weights[c] * (chosen - std::log(e[static_cast<std::size_t>(d)]));
    }
    return static_cast<double>(total);
}

template <class F>
void check_derivatives(const F& at, const Values& beta, const std::string& what) {
    constexpr double h = 1e-5;
    const Result here = at(beta, 2);
    for (std::size_t r = 0; r < beta.size(); ++r) {
        Values up = beta, down = beta;
        up[r] += h, down[r] -= h;
        const Result above = at(up, 2), below = at(down, 2);
        check_close((above.value - below.value) / (2 * h), here.score[r], 1e-6, what + ", score");
        for (std::size_t s = 0; s < beta.size(); ++s)
            check_close((above.score[s] - below.score[s]) / (2 * h), here.hessian[r * beta.size() + s], 1e-6, what + ", Hessian");
        check_close(at(beta, 1).score[r], here.score[r], 1e-14, what + ", score alone");
    }
    check_close(at(beta, 0).value, here.value, 1e-14, what + ", value alone");
}

bool same_bits(const Result& x, const Result& y) {
    const auto same = [](const Values& u, const Values& v) { return u.size() == v.size() && std::memcmp(u.data(), v.data(), u.size() * sizeof(double)) == 0; };
    return same({x.value}, {y.value}) && same(x.score, y.score) && same(x.hessian, y.hessian) && same(x.gammas, y.gammas);
}

const Values kBeta{0.7, -0.4, 0.9};
const std::vector<std::vector<int>> kShapes{{1}, {2, 2, 2, 2}, {5, 5, 5, 5, 5, 5}, {1, 7, 3, 3, 9, 2, 12}, {47, 48, 49, 1, 130}, {100}};

template <class R>
void test_profile(const std::string& name, bool counts) {
    for (std::size_t shape = 0; shape < kShapes.size(); ++shape)
        for (const bool grouped : {false, true}) {
            const Data data(kShapes[shape], counts, grouped);
            const Problem problem = data.problem(!counts && !grouped);
            const std::string where = name + ", shape " + std::to_string(shape) + (grouped ? ", grouped" : "");
            const double expected = bisected<R>(problem, kBeta, counts);
            for (const double start : {static_cast<double>(NAN), 0.0, 50.0, -400.0})
                check_close(by_profile<R>(problem, kBeta, 0, 1, start).value, expected, 1e-12, where + ", start " + std::to_string(start));
            check_derivatives([&](const Values& beta, int order) { return by_profile<R>(problem, beta, order); }, kBeta, where);
            const Values far{150.0, -90.0, 60.0};  // beyond the range of products of exponentials
            check_close(by_profile<R>(problem, far, 0).value, bisected<R>(problem, far, counts), 1e-9, where + ", far away");
        }
    const Data data(std::vector<int>(1000, 3), counts, false);
    const Problem problem = data.problem(!counts);
    check(same_bits(by_profile<R>(problem, kBeta, 2, 1), by_profile<R>(problem, kBeta, 2, 3)), name + ": the same bits with 3 threads", 0.0);
}

void test_conditional() {
    for (std::size_t shape = 0; shape < kShapes.size(); ++shape)
        for (const bool grouped : {false, true}) {
            const Data data(kShapes[shape], false, grouped);
            const Problem problem = data.problem(!grouped);
            const std::string where = "conditional, shape " + std::to_string(shape) + (grouped ? ", grouped" : "");
            check_close(by_condition(problem, kBeta, 0).value, by_symmetric_functions(problem, kBeta), 1e-12, where);
            check_derivatives([&](const Values& beta, int order) { return by_condition(problem, beta, order); }, kBeta, where);
            const Values far{30.0, -20.0, 10.0};
            check_close(by_condition(problem, far, 0).value, by_symmetric_functions(problem, far), 1e-10, where + ", far away");
        }
    const Data data(std::vector<int>(1000, 3), false, false);
    const Problem problem = data.problem(true);
    check(same_bits(by_condition(problem, kBeta, 2, 1), by_condition(problem, kBeta, 2, 3)), "conditional: the same bits with 3 threads", 0.0);
}

// P(N = d) of one binomial, and a total that is out of reach.
void test_inversion() {
    for (const double n : {7.0, 150.0, 1e5}) {
        for (const double pi : {0.02, 0.5, 0.9}) {
            const double d = std::round(n * pi);
            Inversion inversion(0, 0);
            inversion.begin(n, n * pi - d, n * pi * (1.0 - pi));
            inversion.add(n, pi, 1.0 - pi, nullptr);
            const Real expected = std::lgamma(n + 1.0L) - std::lgamma(d + 1.0L) - std::lgamma(n - d + 1.0L) + d * std::log(static_cast<Real>(pi)) +
                                  (n - d) * std::log1p(-static_cast<Real>(pi));
            check_close(std::log(inversion.finish(nullptr, nullptr)), static_cast<double>(expected), 1e-13, "inversion, " + std::to_string(n) + " trials");
        }
    }
    Inversion inversion(0, 0);
    inversion.begin(1e5, 1000.0, 1e5 * 0.21);
    inversion.add(1e5, 0.3, 0.7, nullptr);
    check(std::isnan(inversion.finish(nullptr, nullptr)), "inversion: a total far from the mean", 0.0);
    inversion.begin(1e9, NAN, NAN);
    inversion.add(1e9, NAN, NAN, nullptr);
    check(inversion.nodes() == 1 && std::isnan(inversion.finish(nullptr, nullptr)), "inversion: not a number", 0.0);
}

}  // namespace

int main() {
    test_profile<BinomialLogit>("logit", false);
    test_profile<BinomialCloglog>("cloglog", false);
    test_profile<BinomialProbit>("probit", false);
    test_profile<PoissonLog>("poisson", true);
    test_conditional();
    test_inversion();
    std::printf("%d passed, %d failed\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
