// The Python face of passes over units that other factors cross.
#include "handles.hpp"

using Slots = nb::ndarray<const std::int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using SlotMatrix = nb::ndarray<const std::int32_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

namespace {

// Keeps the arrays that say which outside effects rows and units touch.
class OutsideHandle {
   public:
    OutsideHandle(SlotMatrix local, SlotMatrix columns, Integers starts, Slots touched, Integers matrix, Integers size)
        : local_(local), columns_(columns), touched_(touched), starts_(starts), matrix_(matrix), size_(size) {
        const std::size_t m = matrix.size();
        require(columns.shape(0) == local.shape(0) && columns.shape(1) == local.shape(1), "columns: as many as local");
        for (std::size_t k = 0; k < columns.size(); ++k) {
            require(columns.data()[k] >= 0, "columns: places of effects");
            effects_ = std::max(effects_, static_cast<std::size_t>(columns.data()[k]) + 1);
        }
        require(starts.size() == m + 1 && size.size() == m, "starts, matrix, size: of the units");
        require(starts.data()[0] == 0 && starts.data()[m] == static_cast<std::int64_t>(touched.size()), "starts: from 0 to the number of touched effects");
        for (std::size_t i = 0; i < m; ++i) {
            const std::int64_t first = starts.data()[i], last = starts.data()[i + 1];
            require(first < last && matrix.data()[i] >= 0 && size.data()[i] > 0, "starts: increasing");
            for (std::int64_t k = first; k < last; ++k)
                require(touched.data()[k] >= (k > first ? touched.data()[k - 1] + 1 : 0) && touched.data()[k] < size.data()[i],
                        "touched: ascending, within the component");
            cells_ = std::max(cells_, matrix.data()[i] + size.data()[i] * size.data()[i]);
        }
    }
    // With slopes, after a look at whether rows fit the problem.
    clusterglm::Outside view(const clusterglm::Problem& problem, const Matrix& slopes) {
        require(static_cast<std::size_t>(problem.clusters) == matrix_.size() && static_cast<std::size_t>(problem.rows) == local_.shape(0),
                "outside: of the units and rows of the problem");
        require(slopes.shape(0) == local_.shape(0) && slopes.shape(1) == local_.shape(1), "slopes: rows by width");
        if (!checked_)
            for (std::int64_t i = 0; i < problem.clusters; ++i)
                for (std::int64_t j = problem.starts[i]; j < problem.starts[i + 1]; ++j)
                    for (std::size_t w = 0; w < local_.shape(1); ++w) {
                        const std::int32_t at = local_.data()[j * static_cast<std::int64_t>(local_.shape(1)) + static_cast<std::int64_t>(w)];
                        require(at >= 0 && at < starts_.data()[i + 1] - starts_.data()[i], "local: of the effects that the unit touches");
                    }
        checked_ = true;
        return {static_cast<int>(local_.shape(1)), local_.data(), slopes.data(), starts_.data(), touched_.data(), matrix_.data(), size_.data()};
    }
    void spread(Matrix slopes, Vector v, std::optional<Vector> offset, OutVector to) const {
        require(slopes.shape(0) == local_.shape(0) && slopes.shape(1) == local_.shape(1), "slopes: rows by width");
        require(v.size() >= effects_, "v: one for each effect");
        require(to.size() == local_.shape(0) && (!offset || offset->size() == to.size()), "offset, to: one per row");
        clusterglm::spread(static_cast<std::int64_t>(to.size()), static_cast<int>(local_.shape(1)), columns_.data(), slopes.data(), v.data(),
                           offset ? offset->data() : nullptr, to.data());
    }
    void gather(Matrix slopes, Vector by, OutVector to) const {
        require(slopes.shape(0) == local_.shape(0) && slopes.shape(1) == local_.shape(1) && by.size() == local_.shape(0), "slopes, by: of rows");
        require(to.size() >= effects_, "to: one for each effect");
        clusterglm::gather(static_cast<std::int64_t>(by.size()), static_cast<int>(local_.shape(1)), columns_.data(), slopes.data(), by.data(), to.data());
    }
    std::int64_t cells() const { return cells_; }
    std::size_t touched() const { return touched_.size(); }

   private:
    SlotMatrix local_, columns_;
    Slots touched_;
    Integers starts_, matrix_, size_;
    std::int64_t cells_ = 0;
    std::size_t effects_ = 0;
    bool checked_ = false;
};

void crossed(const ProblemHandle& problem, OutsideHandle& outside, Matrix slopes, int coefficients, Integers effects, Integers rows, Integers columns,
             Vector theta, const clusterglm::PointSet* points, bool follow, bool precise, OutMatrix centres, OutCube factors, int task,
             std::optional<Integers> units, std::optional<OutVector> matrices, std::optional<Vector> direction, std::optional<Vector> kappa,
             std::optional<OutVector> values, std::optional<OutVector> logs, std::optional<OutVector> row_results, std::optional<OutVector> pulls,
             std::optional<OutMatrix> entries, std::optional<OutMatrix> direct, std::optional<OutVector> first, std::optional<OutVector> kept, bool known,
             std::optional<OutMatrix> means, std::optional<OutCube> covariances,
             std::optional<OutCube> spreads, std::optional<OutMatrix> follows, std::optional<OutMatrix> bends, int threads) {
    using clusterglm::CrossedTask;
    const clusterglm::Problem& view = problem.view_of_clusters();
    const clusterglm::VectorModel model = vector_model(view, coefficients, effects, rows, columns, theta);
    const auto m = static_cast<std::size_t>(view.clusters), n = static_cast<std::size_t>(view.rows), d = effects.size();
    const clusterglm::Outside crossing = outside.view(view, slopes);
    const auto cells = static_cast<std::size_t>(outside.cells());
    require(task >= 0 && task <= 4, "task: from 0 to 4");
    const auto wanted = static_cast<CrossedTask>(task);
    require(points || follow, "points: at the summit, if there are none");
    require(!points || points->d == model.d, "points: of as many dimensions as there are effects");
    require(centres.shape(0) == m && centres.shape(1) == d, "centres: units by effects");
    require(factors.shape(0) == m && factors.shape(1) == d && factors.shape(2) == d, "factors: units by effects by effects");
    require(!values || values->size() == m, "values: one per unit");
    require(!logs || logs->size() == m, "logs: one per unit");
    const bool of_rows = wanted == CrossedTask::kScore || wanted == CrossedTask::kContract || wanted == CrossedTask::kDirection;
    require(!of_rows || (row_results && row_results->size() == n && entries && entries->shape(0) == m && entries->shape(1) == rows.size()),
            "row_results, entries: of rows, and of units by free entries");
    require((wanted != CrossedTask::kCurvature && wanted != CrossedTask::kContract) || (matrices && matrices->size() >= cells), "matrices: of all components");
    require(wanted != CrossedTask::kContract || (direct && direct->shape(0) == n && direct->shape(1) == slopes.shape(1)), "direct: rows by width");
    require(wanted != CrossedTask::kContract || (first && first->size() == n), "first: one per row");
    require(!kept || (!points && (wanted == CrossedTask::kContract || wanted == CrossedTask::kDirection) && kept->size() == 2 * n),
            "kept: two per row, of tasks 3 and 4 at the summit");
    require(!known || (kept && wanted == CrossedTask::kDirection), "known: of task 4, what was kept");
    require(wanted != CrossedTask::kContract || points || (pulls && pulls->size() == n), "pulls: one per row");
    require(wanted != CrossedTask::kDirection || (direction && direction->size() == n && (points || (kappa && kappa->size() == n))),
            "direction, kappa: one per row");
    const bool posterior = means || covariances || spreads || follows || bends;
    require(!posterior || (means && covariances && spreads && follows && bends && wanted == CrossedTask::kContract), "means, covariances, spreads, follows, bends: together, of task 3");
    if (posterior) {
        require(means->shape(0) == m && means->shape(1) == d && bends->shape(0) == m && bends->shape(1) == d, "means, bends: units by effects");
        require(covariances->shape(0) == m && covariances->shape(1) == d && covariances->shape(2) == d, "covariances: units by effects by effects");
        require(spreads->shape(0) == m && spreads->shape(1) == d && spreads->shape(2) == d, "spreads: units by effects by effects");
        require(follows->shape(0) == outside.touched() && follows->shape(1) == d, "follows: touched effects by effects");
    }
    const auto data = [](auto& x) { return x ? x->data() : nullptr; };
    const clusterglm::Selection selection = selected(view, units);
    const clusterglm::VectorPlaces places{follow, precise, centres.data(), factors.data()};
    const clusterglm::CrossedInputs in{wanted, data(matrices), data(direction), data(kappa), data(kept), known};
    const clusterglm::CrossedOutputs out{data(values), data(logs), data(row_results), data(pulls), data(entries), data(direct), data(first),
                                          data(means), data(covariances), data(spreads), data(follows), data(bends)};
    bool completed;
    {
        nb::gil_scoped_release release;
        completed = chosen->crossed(*problem.functions().loops, view, model, points, places, crossing, in, selection, out, data(matrices), threads, interrupted);
    }
    if (!completed) throw nb::python_error();
}

}  // namespace

void add_crossed(nb::module_& module) {
    nb::class_<OutsideHandle>(module, "Outside")
        .def(nb::init<SlotMatrix, SlotMatrix, Integers, Slots, Integers, Integers>(), nb::arg("local"), nb::arg("columns"), nb::arg("starts"),
             nb::arg("touched"), nb::arg("matrix"), nb::arg("size"))
        .def("spread", &OutsideHandle::spread, nb::arg("slopes"), nb::arg("v"), nb::arg("offset").none(), nb::arg("to"))
        .def("gather", &OutsideHandle::gather, nb::arg("slopes"), nb::arg("by"), nb::arg("to"));
    module.def("crossed", &crossed, nb::arg("problem"), nb::arg("outside"), nb::arg("slopes"), nb::arg("coefficients"), nb::arg("effects"),
               nb::arg("rows"), nb::arg("columns"), nb::arg("theta"), nb::arg("points").none(), nb::arg("follow"), nb::arg("precise"),
               nb::arg("centres"), nb::arg("factors"), nb::arg("task"), nb::arg("units").none(), nb::arg("matrices").none() = nb::none(),
               nb::arg("direction").none() = nb::none(), nb::arg("kappa").none() = nb::none(), nb::arg("values").none() = nb::none(),
               nb::arg("logs").none() = nb::none(), nb::arg("row_results").none() = nb::none(), nb::arg("pulls").none() = nb::none(),
               nb::arg("entries").none() = nb::none(), nb::arg("direct").none() = nb::none(), nb::arg("first").none() = nb::none(),
               nb::arg("kept").none() = nb::none(), nb::arg("known") = false,
               nb::arg("means").none() = nb::none(),
               nb::arg("covariances").none() = nb::none(), nb::arg("spreads").none() = nb::none(), nb::arg("follows").none() = nb::none(), nb::arg("bends").none() = nb::none(),
               nb::arg("threads") = 1);
}
