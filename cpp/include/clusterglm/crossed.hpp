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

// Subtracts units' blocks from the components' matrices, lower triangles: every stripe of rows by one thread, in the order of the units.
inline bool subtract_blocks(const Outside& outside, const Selection& selection, std::int64_t first, std::int64_t last, const std::vector<std::size_t>& from,
                            const double* blocks, double* matrices, int threads, const std::function<bool()>& interrupted) {
    const int stripes = worker_count(kMostThreads, threads);
    return for_blocks(
        stripes, threads,
        [&](int, std::int64_t stripe) {
            for (std::int64_t i = first; i < last; ++i) {
                const std::int64_t unit = selection[i], size = outside.size[unit];
                const int c = outside.count(unit), stride = padded(c);
                const std::int32_t* at = outside.touched + outside.starts[unit];
                double* matrix = matrices + outside.matrix[unit];
                const std::int64_t low = size * stripe / stripes, high = size * (stripe + 1) / stripes;
                const bool side_by_side = at[c - 1] - at[0] == c - 1;  // as where a unit touches all effects
                for (int a = static_cast<int>(std::lower_bound(at, at + c, low) - at); a < c && at[a] < high; ++a) {
                    double* to = matrix + at[a] * size;
                    const double* row = blocks + from[i - first] + static_cast<std::size_t>(a) * stride;
                    if (side_by_side) {
                        double* there = to + at[0];
                        for (int b = 0; b <= a; ++b) there[b] -= row[b];
                    } else {
                        for (int b = 0; b <= a; ++b) to[at[b]] -= row[b];
                    }
                }
                checkpoint(static_cast<std::int64_t>(c) * c / 2);
            }
        },
        interrupted);
}

// One pass over the selected units; without points only the summits count. matrices: of kCurvature, from which blocks are subtracted.
inline bool evaluate_crossed(const RowLoops& loops, const Problem& problem, const VectorModel& model, const PointSet* points, const VectorPlaces& places,
                             const Outside& outside, const CrossedInputs& in, const Selection& selection, const CrossedOutputs& out, double* matrices,
                             int threads, const std::function<bool()>& interrupted) {
    constexpr std::size_t kCells = std::size_t{1} << 22;  // numbers of blocks that wait to be subtracted
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
                    const int c = outside.count(selection[i]);
                    cells += static_cast<std::size_t>(c) * padded(c);
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
                !subtract_blocks(outside, selection, borders[group], borders[end], from, waiting.data(), matrices, threads, interrupted))
                return false;
            group = end;
        }
        return true;
    };
    if (points) return model.d == 1 ? with.template operator()<CrossedNodes<1>>() : with.template operator()<CrossedNodes<0>>();
    return model.d == 1 ? with.template operator()<CrossedSummit<1>>() : with.template operator()<CrossedSummit<0>>();
}

}  // namespace clusterglm
