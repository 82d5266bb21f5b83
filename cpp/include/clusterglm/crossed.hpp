// Passes over units whose rows have effects of other factors too, which cross the units: given these, units are independent. Values, rows'
// derivatives, second derivatives in the outside effects and their contractions; the search for the mode and the dense algebra lie outside.
#pragma once
#include <algorithm>
#include <memory>
#include <vector>

#include "blocks.hpp"
#include "crossed_nodes.hpp"
#include "crossed_summit.hpp"

namespace clusterglm {

// Subtracts units' second derivatives from the components' matrices, lower triangles: every stripe of rows by one thread, in the order of the
// units. Stripes fit into a processor's memory, where what waits does.
template <class Units>
bool subtract(const Outside& outside, const Problem& problem, int d, const Selection& selection, std::int64_t first, std::int64_t last,
              const std::vector<std::size_t>& from, const double* waiting, double* matrices, int threads, const std::function<bool()>& interrupted) {
    constexpr std::int64_t kOfAStripe = 1 << 17;
    std::int64_t stripes = worker_count(kMostThreads, threads), largest = 0;
    for (std::int64_t i = first; i < last; ++i) largest = std::max(largest, outside.size[selection[i]]);
    if (!Units::kManyCells) stripes = std::max(stripes, largest * largest / kOfAStripe);
    return for_blocks(
        stripes, threads,
        [&](int, std::int64_t stripe) {
            for (std::int64_t i = first; i < last; ++i) {
                const std::int64_t unit = selection[i], size = outside.size[unit], c = outside.count(unit);
                Units::subtract(outside, problem, d, unit, waiting + from[i - first], size * stripe / stripes, size * (stripe + 1) / stripes,
                                matrices + outside.matrix[unit]);
                checkpoint(c * c / (2 * stripes));
            }
        },
        interrupted);
}

// One pass over the selected units; without points only the summits count. matrices: of kCurvature, from which second derivatives are
// subtracted.
inline bool evaluate_crossed(const RowLoops& loops, const Problem& problem, const VectorModel& model, const PointSet* points, const VectorPlaces& places,
                             const Outside& outside, const CrossedInputs& in, const Selection& selection, const CrossedOutputs& out, double* matrices,
                             int threads, const std::function<bool()>& interrupted) {
    constexpr std::size_t kCells = std::size_t{1} << 22;  // numbers that wait to be subtracted
    const auto with = [&]<class Units>() {
        const std::vector<std::int64_t> borders = block_borders(problem, selection);
        const auto blocks = static_cast<std::int64_t>(borders.size()) - 1;
        std::vector<std::unique_ptr<Units>> workers(static_cast<std::size_t>(worker_count(blocks, threads)));
        std::vector<double> waiting;
        std::vector<std::size_t> from;
        for (std::int64_t group = 0; group < blocks;) {
            std::int64_t end = group;
            std::size_t cells = 0;
            from.clear();
            do {
                for (std::int64_t i = borders[end]; i < borders[end + 1] && in.task == CrossedTask::kCurvature; ++i) {
                    from.push_back(cells);
                    cells += Units::cells(outside, problem, model.d, selection[i]);
                }
                ++end;
            } while (end < blocks && cells < kCells);
            if (waiting.size() < cells + 2 * kLanes) waiting.resize(cells + 2 * kLanes);
            const bool completed = for_blocks(
                end - group, threads,
                [&](int worker, std::int64_t block) {
                    auto& own = workers[worker];
                    if (!own) own = std::make_unique<Units>(loops, problem, model, points, places, outside, in);
                    for (std::int64_t i = borders[group + block]; i < borders[group + block + 1]; ++i)
                        own->add(selection[i], out, from.empty() ? nullptr : waiting.data() + from[i - borders[group]]);
                },
                interrupted);
            if (!completed) return false;
            if (in.task == CrossedTask::kCurvature &&
                !subtract<Units>(outside, problem, model.d, selection, borders[group], borders[end], from, waiting.data(), matrices, threads, interrupted))
                return false;
            group = end;
        }
        return true;
    };
    if (points) return model.d == 1 ? with.template operator()<CrossedNodes<1>>() : with.template operator()<CrossedNodes<0>>();
    return model.d == 1 ? with.template operator()<CrossedSummit<1>>() : with.template operator()<CrossedSummit<0>>();
}

}  // namespace clusterglm
