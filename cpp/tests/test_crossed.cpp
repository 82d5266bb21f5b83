// Passes over units that other factors cross, without Python: first derivatives against differences of values, second ones and contractions
// against differences of first and second ones, the same bits for any number of threads. Under sanitizers, with units of all sizes.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "clusterglm/crossed.hpp"
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

// Two outside effects a row, of levels that go round; one component of `q` effects.
struct Data {
    std::vector<std::int64_t> starts{0}, touched_starts{0}, matrix, size;
    std::vector<std::int32_t> local, touched, place;
    Values X, a, b, slopes, weights;
    std::uint64_t state = 99;
    const int q = 6;

    double uniform() {
        state = state * 6364136223846793005ULL + 1442695040888963407ULL;
        return static_cast<double>(state >> 11) * 0x1p-53;
    }
    Data(const std::vector<int>& sizes, bool poisson) {
        for (const int n : sizes) {
            std::vector<int> seen(static_cast<std::size_t>(q), -1);
            const std::size_t first = place.size();
            for (int j = 0; j < n; ++j) {
                const int level = static_cast<int>(4.0 * uniform()), other = 4 + static_cast<int>(2.0 * uniform());
                place.push_back(level), place.push_back(other), seen[level] = seen[other] = 0;
                X.push_back(1.0), X.push_back(2.0 * uniform() - 1.0);
                slopes.push_back(0.8), slopes.push_back(0.6 * X.back());
                a.push_back(poisson ? std::floor(3.0 * uniform()) : uniform() < 0.5), b.push_back(poisson ? 1.0 : 1.0 - a.back());
            }
            std::int32_t count = 0;
            for (int e = 0; e < q; ++e)
                if (seen[e] == 0) seen[e] = count++, touched.push_back(e);
            for (std::size_t k = first; k < place.size(); ++k) local.push_back(seen[place[k]]);
            starts.push_back(starts.back() + n), touched_starts.push_back(touched_starts.back() + count);
            matrix.push_back(0), size.push_back(q), weights.push_back(0.5 + uniform());
        }
    }
};

struct Pass {
    Values values, logs, rows, pulls, entries, direct, first, kept, matrices, means, covariances, spreads, follows, bends;
};

template <class R>
void test(const std::string& name, bool poisson, bool summit, const std::vector<int>& sizes, int count) {
    const Data data(sizes, poisson);
    const auto m = static_cast<std::int64_t>(sizes.size()), n = data.starts.back();
    const auto q = static_cast<std::size_t>(data.q);
    Values at(static_cast<std::size_t>(count)), log_weights(at.size());
    const double step = 9.0 / (count - 1);
    for (int k = 0; k < count; ++k) at[k] = step * k - 4.5, log_weights[k] = std::log(step) - 0.9189385332046727;
    const PointSet points{1, count, at.data(), log_weights.data(), nullptr};
    Values centres(static_cast<std::size_t>(m), 0.1), factors(centres.size(), 1.0);
    Values T(q * q);
    for (std::size_t r = 0; r < q; ++r)
        for (std::size_t s = 0; s < q; ++s) T[r * q + s] = r == s ? 1.0 : 0.2 / (1.0 + static_cast<double>(r + s));
    const Values v{0.3, -0.4, 0.2, 0.5, -0.6, 0.1};
    const Values none(static_cast<std::size_t>(n)), y{0.5, -0.3, 0.2, 0.1, 0.4, -0.2};
    Values direction(static_cast<std::size_t>(n));
    for (std::int64_t j = 0; j < n; ++j)
        for (int w = 0; w < 2; ++w) direction[j] += data.slopes[2 * j + w] * y[data.place[2 * j + w]];
    const auto pass = [&](CrossedTask task, const Values& theta, const Values& where, int threads) {
        Values offset(static_cast<std::size_t>(n));
        for (std::int64_t j = 0; j < n; ++j)
            for (int w = 0; w < 2; ++w) offset[j] += data.slopes[2 * j + w] * where[data.place[2 * j + w]];
        const Problem problem{m, n, 2, data.starts.data(), data.X.data(), data.a.data(), data.b.data(), offset.data(), data.weights.data(), !poisson};
        VectorModel model{2, 1, 1, {0}, {0}, {0}, {theta[0], theta[1]}, {}};
        model.L[0][0] = theta[2];
        const Outside outside{2, data.local.data(), data.slopes.data(), data.touched_starts.data(), data.touched.data(), data.matrix.data(), data.size.data()};
        Pass out{Values(m), Values(m), Values(n), Values(n), Values(m), Values(2 * n), Values(n), Values(2 * n), Values(q * q), Values(m), Values(m), Values(m),
                 Values(data.touched.size()), Values(m)};
        CrossedInputs in{task, T.data(), direction.data(), none.data()};
        if (summit && (task == CrossedTask::kContract || task == CrossedTask::kDirection)) in.kept = out.kept.data();
        const CrossedOutputs to{out.values.data(), out.logs.data(), out.rows.data(), out.pulls.data(), out.entries.data(), out.direct.data(), out.first.data(),
                                out.means.data(), out.covariances.data(), out.spreads.data(), out.follows.data(), out.bends.data()};
        const VectorPlaces places{summit, true, centres.data(), factors.data()};
        const auto go = [&](const CrossedOutputs& results) {
            evaluate_crossed(loops_of<R>(), problem, model, summit ? nullptr : &points, places, outside, in, {nullptr, m}, results, out.matrices.data(),
                             threads, [] { return false; });
        };
        go(to);
        if (in.kept && task == CrossedTask::kDirection) {  // once more with what was kept
            Values rows(out.rows.size()), entries(out.entries.size());
            CrossedOutputs again;
            again.rows = rows.data(), again.entries = entries.data(), in.known = true;
            go(again);
            for (std::size_t j = 0; j < rows.size(); ++j) check_close(rows[j], out.rows[j], 1e-13, name + " rows by what was kept");
            for (std::size_t i = 0; i < entries.size(); ++i) check_close(entries[i], out.entries[i], 1e-12, name + " entries by what was kept");
        }
        return out;
    };
    const auto sum = [](const Values& x) {
        double total = 0.0;
        for (const double each : x) total += each;
        return total;
    };
    const auto gather = [&](const Values& rows) {
        Values g(q);
        for (std::int64_t j = 0; j < n; ++j)
            for (int w = 0; w < 2; ++w) g[data.place[2 * j + w]] += data.slopes[2 * j + w] * rows[j];
        return g;
    };
    const Values theta{0.2, -0.3, 0.9};
    const double h = 1e-5;
    const Pass first = pass(CrossedTask::kScore, theta, v, 1), second = pass(CrossedTask::kCurvature, theta, v, 1);
    const Pass third = pass(CrossedTask::kContract, theta, v, 1), along = pass(CrossedTask::kDirection, theta, v, 1);
    const auto trace = [&](const Values& where, const Values& what) {  // of T times the second derivatives
        const Pass there = pass(CrossedTask::kCurvature, what, where, 1);
        double total = 0.0;
        for (std::size_t r = 0; r < q; ++r)
            for (std::size_t s = 0; s <= r; ++s) total -= (r == s ? 1.0 : 2.0) * T[r * q + s] * there.matrices[r * q + s];
        return total;
    };
    for (std::int64_t j = 0; j < n; ++j) check_close(third.first[j], first.rows[j], 1e-12, name + " first derivatives beside a contraction");
    const Values gradient = gather(first.rows), contracted = gather(third.rows);
    double slope = 0.0;
    for (std::size_t e = 0; e < q; ++e) {
        Values up = v, down = v;
        up[e] += h, down[e] -= h;
        const Pass ahead = pass(CrossedTask::kScore, theta, up, 1), behind = pass(CrossedTask::kScore, theta, down, 1);
        check_close(gradient[e], (sum(ahead.values) - sum(behind.values)) / (2 * h), 1e-7, name + " gradient");
        const Values g = gather(ahead.rows), k = gather(behind.rows);
        for (std::size_t s = 0; s < q; ++s)
            check_close(second.matrices[std::max(e, s) * q + std::min(e, s)], -(g[s] - k[s]) / (2 * h), 1e-7, name + " curvature");
        if (!summit) check_close(contracted[e], 0.5 * (trace(up, theta) - trace(down, theta)) / (2 * h), 1e-6, name + " contraction");
        const Pass above = pass(CrossedTask::kContract, theta, up, 1), below = pass(CrossedTask::kContract, theta, down, 1);
        for (std::int64_t i = 0; i < m; ++i)
            for (std::int64_t k = data.touched_starts[i]; k < data.touched_starts[i + 1]; ++k)
                if (data.touched[k] == static_cast<std::int32_t>(e))
                    check_close(third.follows[k], (above.means[i] - below.means[i]) / (2 * h), 1e-7, name + " means that follow");
        slope += y[e] * (sum(ahead.entries) - sum(behind.entries)) / (2 * h);
    }
    check_close(sum(along.entries), slope, 1e-6, name + " direction");
    for (std::int64_t i = 0; i < m; ++i) {
        double spread = 0.0;
        for (std::int64_t k = data.touched_starts[i]; k < data.touched_starts[i + 1]; ++k)
            for (std::int64_t l = data.touched_starts[i]; l < data.touched_starts[i + 1]; ++l)
                spread += third.follows[k] * T[static_cast<std::size_t>(data.touched[k]) * q + static_cast<std::size_t>(data.touched[l])] * third.follows[l];
        check_close(third.spreads[i], spread, 1e-11, name + " spreads");
    }
    Values up = theta, down = theta;
    up[2] += h, down[2] -= h;
    const double entry = (sum(pass(CrossedTask::kValue, up, v, 1).values) - sum(pass(CrossedTask::kValue, down, v, 1).values)) / (2 * h);
    check_close(sum(first.entries), entry, 1e-7, name + " entries");
    if (!summit) check_close(sum(third.entries), 0.5 * (trace(v, up) - trace(v, down)) / (2 * h), 1e-6, name + " contracted entries");
    for (const auto task : {CrossedTask::kScore, CrossedTask::kCurvature, CrossedTask::kContract, CrossedTask::kDirection}) {
        const Values from = centres;  // searches for modes begin where the last ended, of which rounding knows
        const Pass one = pass(task, theta, v, 1);
        centres = from;
        const Pass three = pass(task, theta, v, 3);
        check_close(one.values == three.values && one.rows == three.rows && one.matrices == three.matrices && one.direct == three.direct && one.bends == three.bends, 1.0, 0.0, name + " threads");
    }
}

template <class R>
void test_all(const std::string& name, bool poisson) {
    for (const bool summit : {false, true}) {
        test<R>(name, poisson, summit, {1, 7, 4, 12, 3}, 25);
        test<R>(name + " in chunks", poisson, summit, {300, 2}, 901);
    }
}

}  // namespace

int main() {
    test_all<BinomialLogit>("logit", false);
    test_all<BinomialProbit>("probit", false);
    test_all<BinomialCloglog>("cloglog", false);
    test_all<PoissonLog>("Poisson", true);
    std::printf("crossed: %d passed, %d failed\n", passed, failed);
    return failed > 0;
}
