// The Python face of the core: shape checks, the GIL, and nothing else.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "clusterglm/distribution/cauchy.hpp"
#include "clusterglm/distribution/gaussian.hpp"
#include "clusterglm/distribution/logistic.hpp"
#include "clusterglm/distribution/student_t.hpp"
#include "clusterglm/distribution/table.hpp"
#include "handles.hpp"
#include "processor.hpp"

namespace nb = nanobind;
using clusterglm::LocationMap;

// Where the machine's own generation alone was compiled, there is no other to fall back on.
#ifdef CLUSTERGLM_ONLY_V3
const Kernels* chosen = nullptr;
#else
const Kernels* chosen = &kernels();
#endif

namespace {

// CLUSTERGLM_BASELINE, set to anything, keeps to the kernels that every processor can run.
const char* choose_kernels() {
#ifdef CLUSTERGLM_V3
    const char* asked = std::getenv("CLUSTERGLM_BASELINE");
    const bool baseline = asked && *asked;
#ifdef CLUSTERGLM_ONLY_V3
    if (baseline || !knows_x86_64_v3())
        throw nb::import_error(baseline ? "CLUSTERGLM_BASELINE asks for kernels that this build of clusterglm has not; unset it, or build with "
                                          "-DCLUSTERGLM_GENERATIONS=all"
                                        : "this build of clusterglm is for processors with AVX2 and FMA, which this one has not; build with "
                                          "-DCLUSTERGLM_GENERATIONS=all, or on this machine");
#endif
    if (knows_x86_64_v3() && !baseline) {
        chosen = static_cast<const Kernels*>(nb::cast<nb::capsule>(nb::module_::import_("clusterglm._core_v3").attr("kernels")).data());
        return "x86-64-v3";
    }
#endif
    return "baseline";
}

using Map = std::shared_ptr<const LocationMap>;

template <class D>
Map on_scale(D d, bool normal) {
    if (normal) return std::make_shared<clusterglm::NormalScale<D>>(std::move(d));
    return std::make_shared<clusterglm::DensityScale<D>>(std::move(d));
}

// Holds a LocationMap; the engine never asks which.
struct MapHandle {
    Map map;
};

MapHandle gaussian() { return {std::make_shared<clusterglm::GaussianMap>()}; }
MapHandle logistic(bool normal_scale) { return {on_scale(clusterglm::Logistic{}, normal_scale)}; }
MapHandle cauchy(bool normal_scale) { return {on_scale(clusterglm::Cauchy{}, normal_scale)}; }

clusterglm::PiecewiseChebyshev table(const Vector& edges, const Cube& coefficients, std::size_t functions) {
    require(edges.size() >= 2 && coefficients.shape(1) + 1 == edges.size(), "table: one more edge than pieces");
    require(coefficients.shape(0) == functions && coefficients.shape(2) > 0, "table: functions by pieces by terms");
    for (std::size_t i = 0; i + 1 < edges.size(); ++i) require(edges.data()[i] < edges.data()[i + 1], "table: edges increasing");
    return {{edges.data(), edges.data() + edges.size()}, static_cast<int>(coefficients.shape(2)),
            {coefficients.data(), coefficients.data() + coefficients.size()}};
}
MapHandle student_t(double df, Vector edges, Cube coefficients, bool normal_scale) {
    require(df > 0.0, "student_t: df positive");
    return {on_scale(clusterglm::StudentT(df, table(edges, coefficients, 1)), normal_scale)};
}
MapHandle scale_table(Vector edges, Cube coefficients, bool compressed) {
    return {std::make_shared<clusterglm::ScaleTable>(table(edges, coefficients, 5), compressed)};
}
MapHandle map_table(Vector edges, Cube coefficients) {
    return {std::make_shared<clusterglm::MapTable>(table(edges, coefficients, clusterglm::MapTable::kFunctions))};
}
MapHandle own_density(const MapHandle& map) { return {std::make_shared<clusterglm::OwnDensity>(map.map)}; }

// m, its derivatives and those of the log-density at the points s, one row of 17 a point.
void locate(const MapHandle& map, Vector s, double sigma, OutMatrix out) {
    require(out.shape(0) == s.size() && out.shape(1) == 17, "out: one row of 17 for each s");
    for (std::size_t i = 0; i < s.size(); ++i) {
        const clusterglm::Location at = map.map->at(s.data()[i], sigma);
        const double values[] = {at.m, at.m1, at.m2, at.m3, at.m4, at.r, at.r1, at.r2, at.r3, at.v, at.v1, at.v2, at.a, at.a1, at.a2, at.a3, at.a4};
        std::copy(std::begin(values), std::end(values), out.data() + 17 * i);
    }
}

double finish(bool completed, const clusterglm::Sum& sum, OutVector score, OutMatrix hessian) {
    if (!completed) throw nb::python_error();
    std::copy_n(sum.score.begin(), sum.q, score.data());
    sum.copy_hessian(hessian.data());
    return sum.value;
}

void require_outputs(std::size_t q, const OutVector& score, const OutMatrix& hessian) {
    require(score.size() == q && hessian.shape(0) == q && hessian.shape(1) == q, "score, hessian: one entry a parameter");
}

double marginal(const ProblemHandle& problem, const MapHandle& map, const clusterglm::Rule& rule, Vector theta, int order,
                std::optional<Integers> clusters, OutVector modes, OutVector score, OutMatrix hessian, std::optional<OutVector> values,
                std::optional<OutVector> ends, std::optional<OutMatrix> scores, std::optional<OutMatrix> posterior, std::optional<OutVector> omegas,
                int threads) {
    const clusterglm::Problem& view = problem.view_of_clusters();
    const auto m = static_cast<std::size_t>(view.clusters);
    const std::size_t q = static_cast<std::size_t>(view.p) + 1 + view.own;
    require(theta.size() == static_cast<std::size_t>(view.p) + 1, "theta: the columns of X and sigma");
    require(modes.size() == m, "modes: one per cluster");
    require_outputs(q, score, hessian);
    require(!values || values->size() == m, "values: one per cluster");
    require(!ends || ends->size() == m, "ends: one per cluster");
    require(!scores || (scores->shape(0) == m && scores->shape(1) == q && order > 0), "scores: clusters by parameters, order at least 1");
    require(!posterior || (posterior->shape(0) == m && posterior->shape(1) == 2), "posterior: clusters by 2");
    require(!omegas || omegas->size() == m, "omegas: one per cluster");
    const clusterglm::Selection selection = selected(view, clusters);
    const clusterglm::PerCluster out{values ? values->data() : nullptr, scores ? scores->data() : nullptr, ends ? ends->data() : nullptr,
                                     posterior ? posterior->data() : nullptr, omegas ? omegas->data() : nullptr};
    clusterglm::Sum sum(static_cast<int>(q));
    bool completed;
    {
        nb::gil_scoped_release release;
        completed = chosen->marginal(*problem.functions().intercept, view, *map.map, rule, theta.data(), order, selection, modes.data(), out, threads, sum, interrupted);
    }
    return finish(completed, sum, score, hessian);
}

void integrands(const ProblemHandle& problem, const MapHandle& map, Vector theta, std::optional<Integers> clusters, Matrix points, OutMatrix out,
                int threads) {
    const clusterglm::Problem& view = problem.view();
    require(theta.size() == static_cast<std::size_t>(view.p) + 1, "theta: the columns of X and sigma");
    const clusterglm::Selection selection = selected(view, clusters);
    require(points.shape(0) == static_cast<std::size_t>(selection.count) && points.shape(1) > 0, "points: some of each cluster");
    require(out.shape(0) == points.shape(0) && out.shape(1) == points.shape(1), "out: a number for each point");
    bool completed;
    {
        nb::gil_scoped_release release;
        completed = problem.functions().integrands(view, *map.map, theta.data(), selection, points.data(), static_cast<int>(points.shape(1)), out.data(),
                                                   threads, interrupted);
    }
    if (!completed) throw nb::python_error();
}

double pooled(const ProblemHandle& problem, Vector beta, int order, OutVector score, OutMatrix hessian, std::optional<OutMatrix> cluster_sums,
              int threads) {
    const clusterglm::Problem& view = problem.view();
    require(beta.size() == static_cast<std::size_t>(view.p), "beta: the columns of X");
    require_outputs(static_cast<std::size_t>(view.p), score, hessian);
    require(!cluster_sums || (cluster_sums->shape(0) == static_cast<std::size_t>(view.clusters) && cluster_sums->shape(1) == 2), "cluster_sums: clusters by 2");
    clusterglm::Sum sum(view.p);
    bool completed;
    {
        nb::gil_scoped_release release;
        completed = problem.functions().pooled(view, beta.data(), order, cluster_sums ? cluster_sums->data() : nullptr, threads, sum, interrupted);
    }
    return finish(completed, sum, score, hessian);
}

double profile(const ProblemHandle& problem, Vector beta, int order, OutVector intercepts, OutVector score, OutMatrix hessian,
               std::optional<OutVector> information, std::optional<OutMatrix> means, std::optional<OutMatrix> scores, int threads) {
    const clusterglm::Problem& view = problem.view_of_clusters();
    const auto m = static_cast<std::size_t>(view.clusters), p = static_cast<std::size_t>(view.p);
    require(beta.size() == p, "beta: the columns of X");
    require(intercepts.size() == m, "intercepts: one per cluster");
    require_outputs(p, score, hessian);
    require(!information || information->size() == m, "information: one per cluster");
    require(!means || (means->shape(0) == m && means->shape(1) == p), "means: clusters by columns of X");
    require(!scores || (scores->shape(0) == m && scores->shape(1) == p), "scores: clusters by columns of X");
    const clusterglm::ProfileOutputs out{information ? information->data() : nullptr, means ? means->data() : nullptr, scores ? scores->data() : nullptr};
    clusterglm::Sum sum(view.p);
    bool completed;
    {
        nb::gil_scoped_release release;
        completed = problem.functions().profile(view, beta.data(), order, intercepts.data(), out, threads, sum, interrupted);
    }
    return finish(completed, sum, score, hessian);
}

double conditional(const ProblemHandle& problem, Vector beta, int order, OutVector intercepts, OutVector score, OutMatrix hessian,
                   std::optional<OutMatrix> scores, int threads) {
    const clusterglm::Problem& view = problem.view_of_clusters();
    const auto m = static_cast<std::size_t>(view.clusters), p = static_cast<std::size_t>(view.p);
    require(beta.size() == p, "beta: the columns of X");
    require(intercepts.size() == m, "intercepts: one per cluster");
    require_outputs(p, score, hessian);
    require(!scores || (scores->shape(0) == m && scores->shape(1) == p && order > 0), "scores: clusters by columns of X, order at least 1");
    clusterglm::Sum sum(view.p);
    bool completed;
    {
        nb::gil_scoped_release release;
        completed = chosen->conditional(view, beta.data(), order, intercepts.data(), scores ? scores->data() : nullptr, threads, sum, interrupted);
    }
    return finish(completed, sum, score, hessian);
}

double vector(const ProblemHandle& problem, int coefficients, Integers effects, Integers rows, Integers columns, Vector theta,
              const clusterglm::PointSet& points, bool follow, bool precise, OutMatrix centres, OutCube factors, int order,
              std::optional<Integers> clusters, OutVector score, OutMatrix hessian, std::optional<OutVector> values, std::optional<OutMatrix> scores,
              std::optional<OutMatrix> means, std::optional<OutCube> covariances, std::optional<OutMatrix> shares, int threads) {
    const clusterglm::Problem& view = problem.view_of_clusters();
    const clusterglm::VectorModel model = vector_model(view, coefficients, effects, rows, columns, theta);
    const auto m = static_cast<std::size_t>(view.clusters), d = effects.size(), q = static_cast<std::size_t>(model.parameters());
    require(points.d == model.d, "points: of as many dimensions as there are effects");
    require(centres.shape(0) == m && centres.shape(1) == d, "centres: clusters by effects");
    require(factors.shape(0) == m && factors.shape(1) == d && factors.shape(2) == d, "factors: clusters by effects by effects");
    require_outputs(q, score, hessian);
    require(!values || values->size() == m, "values: one per cluster");
    require(!scores || (scores->shape(0) == m && scores->shape(1) == q && order > 0), "scores: clusters by parameters, order at least 1");
    require(!means || (means->shape(0) == m && means->shape(1) == d), "means: clusters by effects");
    require(!covariances || (covariances->shape(0) == m && covariances->shape(1) == d && covariances->shape(2) == d),
            "covariances: clusters by effects by effects");
    require(!shares || (shares->shape(0) == m && shares->shape(1) == static_cast<std::size_t>(points.kinds)), "shares: clusters by kinds of points");
    const clusterglm::Selection selection = selected(view, clusters);
    const clusterglm::VectorPlaces places{follow, precise, centres.data(), factors.data()};
    const clusterglm::VectorOutputs out{values ? values->data() : nullptr, scores ? scores->data() : nullptr, means ? means->data() : nullptr,
                                        covariances ? covariances->data() : nullptr, shares ? shares->data() : nullptr};
    clusterglm::Sum sum(static_cast<int>(q));
    bool completed;
    {
        nb::gil_scoped_release release;
        completed = chosen->vector(*problem.functions().loops, view, model, points, places, order, selection, out, threads, sum, interrupted);
    }
    return finish(completed, sum, score, hessian);
}

// One level of a nested model, whose entries of L begin at theta[first].
clusterglm::NestedLevel nested_level(const clusterglm::Problem& view, const Integers& effects, const Integers& rows, const Integers& columns,
                                     const Vector& theta, std::size_t first) {
    const auto d = static_cast<std::int64_t>(effects.size());
    require(d >= 1 && d <= clusterglm::kMostEffects, "effects: from 1 to 8 of each level");
    require(rows.size() == columns.size(), "rows, columns: of the free entries of the factor");
    require(first + rows.size() <= theta.size(), "theta: the coefficients and the free entries of both factors");
    clusterglm::NestedLevel level{static_cast<int>(d), static_cast<int>(rows.size()), {}, {}, {}, {}};
    for (std::int64_t t = 0; t < d; ++t) {
        require(effects.data()[t] >= 0 && effects.data()[t] < view.p, "effects: numbers of columns of X");
        level.columns.push_back(effects.data()[t]);
    }
    for (std::size_t e = 0; e < rows.size(); ++e) {
        const std::int64_t row = rows.data()[e], column = columns.data()[e];
        require(0 <= column && column <= row && row < d, "rows, columns: of the lower triangle");
        level.row.push_back(row), level.col.push_back(column);
        level.L[row][column] = theta.data()[first + e];
    }
    return level;
}

// Children of units, and their rows.
void require_nested(const clusterglm::Problem& view, const Integers& first_child, const Integers& child_starts) {
    const auto m = static_cast<std::size_t>(view.clusters);
    const std::int64_t *first = first_child.data(), *starts = child_starts.data();
    require(first_child.size() == m + 1 && child_starts.size() >= 2, "first_child, child_starts: one more than units, and than children");
    require(first[0] == 0 && first[m] == static_cast<std::int64_t>(child_starts.size()) - 1, "first_child: from 0 to the number of children");
    for (std::size_t i = 0; i < m; ++i) require(first[i] < first[i + 1], "first_child: increasing");
    for (std::size_t c = 0; c + 1 < child_starts.size(); ++c) require(starts[c] < starts[c + 1], "child_starts: increasing");
    for (std::size_t i = 0; i <= m; ++i) require(starts[first[i]] == view.starts[i], "child_starts: units begin where their first child does");
}

double nested(const ProblemHandle& problem, Integers first_child, Integers child_starts, int coefficients, Integers upper_effects, Integers upper_rows,
              Integers upper_columns, Integers lower_effects, Integers lower_rows, Integers lower_columns, Vector theta,
              const clusterglm::PointSet& upper, const clusterglm::PointSet& lower, bool follow, bool precise, OutMatrix centres1, OutCube factors1,
              OutMatrix centres2, OutCube slopes2, OutCube factors2, int order, std::optional<Integers> units, OutVector score, OutMatrix hessian,
              std::optional<OutVector> values, std::optional<OutMatrix> scores, std::optional<OutMatrix> means1, std::optional<OutCube> covariances1,
              std::optional<OutMatrix> means2, std::optional<OutCube> covariances2, std::optional<OutCube> across, int threads) {
    const clusterglm::Problem& view = problem.view_of_clusters();
    require_nested(view, first_child, child_starts);
    require(coefficients >= 0 && coefficients <= view.p, "coefficients: of columns of X");
    const auto p = static_cast<std::size_t>(coefficients);
    clusterglm::NestedModel model{coefficients, {}, nested_level(view, upper_effects, upper_rows, upper_columns, theta, p),
                                  nested_level(view, lower_effects, lower_rows, lower_columns, theta, p + upper_rows.size()), first_child.data(),
                                  child_starts.data()};
    const auto m = static_cast<std::size_t>(view.clusters), children = child_starts.size() - 1, q = static_cast<std::size_t>(model.parameters());
    const std::size_t d1 = upper_effects.size(), d2 = lower_effects.size();
    require(theta.size() == q, "theta: the coefficients and the free entries of both factors");
    model.beta.assign(static_cast<std::size_t>(view.p), 0.0);
    std::copy_n(theta.data(), coefficients, model.beta.begin());
    const auto is = [](const auto& x, std::size_t first, std::size_t second, std::size_t third) {
        return x.shape(0) == first && x.shape(1) == second && (x.ndim() < 3 || x.shape(2) == third);
    };
    require(upper.d == model.upper.d && lower.d == model.lower.d, "points: of as many dimensions as there are effects");
    require(is(centres1, m, d1, 0) && is(factors1, m, d1, d1), "centres1, factors1: units by effects");
    require(is(centres2, children, d2, 0) && is(slopes2, children, d2, d1) && is(factors2, children, d2, d2),
            "centres2, slopes2, factors2: children by effects");
    require_outputs(q, score, hessian);
    require(!values || values->size() == m, "values: one per unit");
    require(!scores || (is(*scores, m, q, 0) && order > 0), "scores: units by parameters, order at least 1");
    require(!means1 || is(*means1, m, d1, 0), "means1: units by effects");
    require(!covariances1 || (means1 && is(*covariances1, m, d1, d1)), "covariances1: units by effects by effects, with means1");
    require(means2.has_value() == covariances2.has_value() && means2.has_value() == across.has_value(), "means2, covariances2, across: all or none");
    require(!means2 || (is(*means2, children, d2, 0) && is(*covariances2, children, d2, d2) && is(*across, children, d2, d1)),
            "means2, covariances2, across: children by effects");
    const clusterglm::Selection selection = selected(view, units);
    const clusterglm::NestedPlaces places{follow, precise, centres1.data(), factors1.data(), centres2.data(), slopes2.data(), factors2.data()};
    const auto data = [](auto& x) { return x ? x->data() : nullptr; };
    const clusterglm::NestedOutputs out{data(values), data(scores), data(means1), data(covariances1), data(means2), data(covariances2), data(across)};
    clusterglm::Sum sum(static_cast<int>(q));
    bool completed;
    {
        nb::gil_scoped_release release;
        completed = chosen->nested(*problem.functions().loops, view, model, upper, lower, places, order, selection, out, threads, sum, interrupted);
    }
    return finish(completed, sum, score, hessian);
}

void side_by_side(const std::vector<std::optional<Vector>>& columns, OutMatrix X, OutMatrix ranges) {
    require(X.shape(1) == columns.size(), "X: as wide as there are columns");
    require(ranges.shape(0) == columns.size() && ranges.shape(1) == 2, "ranges: columns by 2");
    std::vector<const double*> from;
    for (const std::optional<Vector>& column : columns) {
        require(!column || column->size() == X.shape(0), "columns: as long as X");
        from.push_back(column ? column->data() : nullptr);
    }
    nb::gil_scoped_release release;
    chosen->side_by_side(from.data(), static_cast<std::int64_t>(X.shape(0)), static_cast<int>(from.size()), X.data(), ranges.data());
}

}  // namespace

NB_MODULE(_core, module) {
    nb::set_leak_warnings(false);  // caches of rules live as long as the interpreter
    module.attr("generation") = choose_kernels();
    module.doc() = "The numeric core of clusterglm: sums over clusters of likelihoods and their exact derivatives.";
    nb::class_<ProblemHandle>(module, "Problem")
        .def(nb::init<Integers, Matrix, Vector, Vector, Vector, Vector, const std::string&, int, std::optional<Integers>, std::optional<Matrix>,
                      std::optional<Integers>>(), nb::arg("starts"),
             nb::arg("X"), nb::arg("a"), nb::arg("b"), nb::arg("offset"), nb::arg("cluster_weights"), nb::arg("response"), nb::arg("own") = 0,
             nb::arg("groups").none() = nb::none(), nb::arg("own_columns").none() = nb::none(), nb::arg("own_numbers").none() = nb::none())
        .def_prop_ro("n_clusters", [](const ProblemHandle& problem) { return problem.view().clusters; })
        .def_prop_ro("n_own", [](const ProblemHandle& problem) { return problem.view().own; })
        .def_prop_ro("n_coefficients", [](const ProblemHandle& problem) { return problem.view().p; })
        .def_prop_ro("cluster_weights", &ProblemHandle::cluster_weights, nb::rv_policy::reference_internal);
    nb::class_<MapHandle>(module, "LocationMap");
    nb::class_<clusterglm::Rule>(module, "Rule").def(
        "__init__",
        [](clusterglm::Rule* self, bool follows, bool moves, Vector positions, Vector log_weights) {
            require(positions.size() > 0 && positions.size() == log_weights.size(), "Rule: as many positions as log_weights, at least one");
            new (self) clusterglm::Rule(follows, moves, positions.data(), log_weights.data(), static_cast<int>(positions.size()));
        },
        nb::arg("follows"), nb::arg("moves"), nb::arg("positions"), nb::arg("log_weights"));
    nb::class_<clusterglm::PointSet>(module, "PointSet")
        .def(
            "__init__",
            [](clusterglm::PointSet* self, Matrix positions, Vector log_weights, std::optional<Integers> kinds) {
                require(positions.shape(0) > 0 && positions.shape(0) == log_weights.size(), "PointSet: as many positions as log_weights, at least one");
                require(positions.shape(0) <= 10'000'000, "PointSet: at most 10,000,000 points");
                require(positions.shape(1) >= 1 && positions.shape(1) <= clusterglm::kMostEffects, "PointSet: from 1 to 8 dimensions");
                require(!kinds || kinds->size() == log_weights.size(), "PointSet: a kind for each point");
                for (std::size_t k = 0; kinds && k < kinds->size(); ++k)
                    require(kinds->data()[k] >= 0 && kinds->data()[k] < 4096, "PointSet: kinds from 0 to 4095");
                new (self) clusterglm::PointSet(static_cast<int>(positions.shape(1)), static_cast<int>(positions.shape(0)), positions.data(),
                                                log_weights.data(), kinds ? kinds->data() : nullptr);
            },
            nb::arg("positions"), nb::arg("log_weights"), nb::arg("kinds").none() = nb::none())
        .def_ro("kinds", &clusterglm::PointSet::kinds);
    module.def("gaussian", &gaussian);
    module.def("logistic", &logistic, nb::arg("normal_scale"));
    module.def("cauchy", &cauchy, nb::arg("normal_scale"));
    module.def("student_t", &student_t, nb::arg("df"), nb::arg("edges"), nb::arg("coefficients"), nb::arg("normal_scale"));
    module.def("scale_table", &scale_table, nb::arg("edges"), nb::arg("coefficients"), nb::arg("compressed"));
    module.def("map_table", &map_table, nb::arg("edges"), nb::arg("coefficients"));
    module.def("own_density", &own_density, nb::arg("map"));
    module.def("locate", &locate, nb::arg("map"), nb::arg("s"), nb::arg("sigma"), nb::arg("out"));
    module.def("side_by_side", &side_by_side, nb::arg("columns"), nb::arg("X"), nb::arg("ranges"));
    module.def("marginal", &marginal, nb::arg("problem"), nb::arg("map"), nb::arg("rule"), nb::arg("theta"), nb::arg("order"),
               nb::arg("clusters").none(), nb::arg("modes"), nb::arg("score"), nb::arg("hessian"), nb::arg("values").none() = nb::none(),
               nb::arg("ends").none() = nb::none(), nb::arg("scores").none() = nb::none(),
               nb::arg("posterior").none() = nb::none(), nb::arg("omegas").none() = nb::none(), nb::arg("threads") = 1);
    module.def("vector", &vector, nb::arg("problem"), nb::arg("coefficients"), nb::arg("effects"), nb::arg("rows"), nb::arg("columns"), nb::arg("theta"),
               nb::arg("points"), nb::arg("follow"), nb::arg("precise"), nb::arg("centres"), nb::arg("factors"), nb::arg("order"),
               nb::arg("clusters").none(), nb::arg("score"), nb::arg("hessian"), nb::arg("values").none() = nb::none(),
               nb::arg("scores").none() = nb::none(), nb::arg("means").none() = nb::none(), nb::arg("covariances").none() = nb::none(),
               nb::arg("shares").none() = nb::none(), nb::arg("threads") = 1);
    module.def("nested", &nested, nb::arg("problem"), nb::arg("first_child"), nb::arg("child_starts"), nb::arg("coefficients"),
               nb::arg("upper_effects"), nb::arg("upper_rows"), nb::arg("upper_columns"), nb::arg("lower_effects"), nb::arg("lower_rows"),
               nb::arg("lower_columns"), nb::arg("theta"), nb::arg("upper"), nb::arg("lower"), nb::arg("follow"), nb::arg("precise"),
               nb::arg("centres1"), nb::arg("factors1"), nb::arg("centres2"), nb::arg("slopes2"), nb::arg("factors2"), nb::arg("order"),
               nb::arg("units").none(), nb::arg("score"), nb::arg("hessian"), nb::arg("values").none() = nb::none(),
               nb::arg("scores").none() = nb::none(), nb::arg("means1").none() = nb::none(), nb::arg("covariances1").none() = nb::none(),
               nb::arg("means2").none() = nb::none(), nb::arg("covariances2").none() = nb::none(), nb::arg("across").none() = nb::none(),
               nb::arg("threads") = 1);
    module.def("integrands", &integrands, nb::arg("problem"), nb::arg("map"), nb::arg("theta"), nb::arg("clusters").none(), nb::arg("points"),
               nb::arg("out"), nb::arg("threads") = 1);
    module.def("pooled", &pooled, nb::arg("problem"), nb::arg("beta"), nb::arg("order"), nb::arg("score"), nb::arg("hessian"),
               nb::arg("cluster_sums").none() = nb::none(), nb::arg("threads") = 1);
    module.def("profile", &profile, nb::arg("problem"), nb::arg("beta"), nb::arg("order"), nb::arg("intercepts"), nb::arg("score"),
               nb::arg("hessian"), nb::arg("information").none() = nb::none(), nb::arg("means").none() = nb::none(),
               nb::arg("scores").none() = nb::none(), nb::arg("threads") = 1);
    module.def("conditional", &conditional, nb::arg("problem"), nb::arg("beta"), nb::arg("order"), nb::arg("intercepts"), nb::arg("score"),
               nb::arg("hessian"), nb::arg("scores").none() = nb::none(), nb::arg("threads") = 1);
    add_crossed(module);
    add_normal(module);
}
