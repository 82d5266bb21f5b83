// What the parts of the Python face share: arrays, data, and what is asked of them.
#pragma once
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "kernels.hpp"

namespace nb = nanobind;
using Vector = nb::ndarray<const double, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Matrix = nb::ndarray<const double, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Cube = nb::ndarray<const double, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using Integers = nb::ndarray<const std::int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using OutVector = nb::ndarray<double, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using OutCube = nb::ndarray<double, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using OutMatrix = nb::ndarray<double, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

// The kernels that this processor is to run: chosen when the module is imported.
extern const Kernels* chosen;

// Passes over units that other factors cross.
void add_crossed(nb::module_& module);

// Sums over the units of normal responses.
void add_normal(nb::module_& module);

inline void require(bool condition, const char* message) {
    if (!condition) throw std::invalid_argument(message);
}

inline bool interrupted() {
    nb::gil_scoped_acquire gil;
    return PyErr_CheckSignals() != 0;
}

// Whether every row is (1, 0) or (0, 1). Many at a time, without a branch for each.
inline bool each_is_one_trial(const double* a, const double* b, std::size_t n) {
    constexpr std::size_t kRows = 4096;
    for (std::size_t first = 0; first < n; first += kRows) {
        const std::size_t last = std::min(first + kRows, n);
        std::int64_t trials = 0;
        for (std::size_t j = first; j < last; ++j) trials += ((a[j] == 1.0) & (b[j] == 0.0)) | ((a[j] == 0.0) & (b[j] == 1.0));
        if (trials != static_cast<std::int64_t>(last - first)) return false;
    }
    return true;
}

// Keeps the arrays alive that the views of a clusterglm::Problem look at.
class ProblemHandle {
   public:
    ProblemHandle(Integers starts, Matrix X, Vector a, Vector b, Vector offset, Vector cluster_weights, const std::string& response,
                  int own, std::optional<Integers> groups, std::optional<Matrix> own_columns, std::optional<Integers> own_numbers)
        : starts_(starts), a_(a), b_(b), offset_(offset), cluster_weights_(cluster_weights), X_(X), groups_(groups), own_columns_(own_columns),
          own_numbers_(own_numbers), functions_(find(response)) {
        const std::size_t n = X.shape(0);
        require(starts.size() >= 2, "starts: at least one cluster");
        require(a.size() == n && b.size() == n && offset.size() == n, "a, b and offset: as long as X has rows");
        require(cluster_weights.size() + 1 == starts.size(), "cluster_weights: one per cluster");
        const std::int64_t* s = starts.data();
        require(s[0] == 0 && s[starts.size() - 1] == static_cast<std::int64_t>(n), "starts: from 0 to the number of rows");
        for (std::size_t i = 0; i + 1 < starts.size(); ++i) {
            require(s[i] < s[i + 1], "starts: increasing");
            most_rows_ = std::max(most_rows_, s[i + 1] - s[i]);
        }
        require(own >= 0 && (own == 0) == (!groups && !own_columns), "own: as many as the groups or columns of the response's own parameters");
        require(!groups || (groups->size() == n && !own_columns), "groups: one of the response's own parameters, or -1, per row");
        require(!own_columns || (own_columns->shape(0) == n && own_columns->shape(1) == static_cast<std::size_t>(own)), "own_columns: rows by parameters");
        require(!own_numbers == !own_columns && (!own_numbers || own_numbers->size() == static_cast<std::size_t>(own)), "own_numbers: one per parameter");
        for (int c = 0; own_numbers && c < own; ++c)
            require(own_numbers->data()[c] >= 0 && own_numbers->data()[c] < functions_.intercept->own_numbers, "own_numbers: numbers of the kernel's own");
        require(own == 0 || functions_.intercept->own_numbers > 0, "own: of kernels that have parameters of their own");
        const auto [within, all_first] = range_of_groups(groups ? groups->data() : nullptr, groups ? n : 0, own);
        require(within, "groups: numbers of the response's own parameters");
        if (functions_.intercept->collapses != 0) {
            require(own <= 1 && !own_columns, "own: this kernel has one parameter at most");
            require(all_first, "groups: every row has this kernel's parameter");
        }
        bool weighted = false;
        for (std::size_t i = 0; i < cluster_weights.size() && !weighted; ++i) weighted = cluster_weights.data()[i] != 1.0;
        view_ = {static_cast<std::int64_t>(starts.size()) - 1, static_cast<std::int64_t>(n), static_cast<int>(X.shape(1)), s, X.data(), a.data(),
                 b.data(), offset.data(), cluster_weights.data(), each_is_one_trial(a.data(), b.data(), n), weighted, own, groups ? groups->data() : nullptr,
                 own_columns ? own_columns->data() : nullptr, own_numbers ? own_numbers->data() : nullptr};
        if (functions_.intercept->own_numbers > 0 && own == 0) {  // a kernel with parameters of its own, which no row has here
            none_.assign(n, -1);
            view_.groups = none_.data();
        }
    }
    const clusterglm::Problem& view() const { return view_; }
    // For what counts the rows of a cluster by an int.
    const clusterglm::Problem& view_of_clusters() const {
        require(most_rows_ <= std::numeric_limits<int>::max() / clusterglm::kLanes, "starts: at most 536,870,911 rows a cluster");
        return view_;
    }
    const ResponseFunctions& functions() const { return functions_; }
    nb::ndarray<nb::numpy, const double, nb::ndim<1>> cluster_weights() const { return {cluster_weights_.data(), {cluster_weights_.size()}, nb::handle()}; }

   private:
    // Whether all groups are from -1 to own - 1, and whether all are 0: signs and bits of all of them at once, as many likelihoods are made.
    static std::pair<bool, bool> range_of_groups(const std::int64_t* groups, std::size_t n, std::int64_t own) {
        std::int64_t signs = 0, bits = 0;
        for (std::size_t j = 0; j < n; ++j) signs |= (groups[j] + 1) | (own - 1 - groups[j]), bits |= groups[j];
        return {signs >= 0, bits == 0};
    }

    static ResponseFunctions find(const std::string& code) {
        for (const ResponseFunctions& f : chosen->responses)
            if (code == f.code) return f;
        throw std::invalid_argument("response: unknown code " + code);
    }
    Integers starts_;
    Vector a_, b_, offset_, cluster_weights_;
    Matrix X_;
    std::optional<Integers> groups_;
    std::optional<Matrix> own_columns_;
    std::optional<Integers> own_numbers_;
    std::vector<std::int64_t> none_;
    ResponseFunctions functions_;
    clusterglm::Problem view_;
    std::int64_t most_rows_ = 0;
};

inline clusterglm::Selection selected(const clusterglm::Problem& view, const std::optional<Integers>& clusters) {
    if (!clusters) return {nullptr, view.clusters};
    for (std::size_t i = 0; i < clusters->size(); ++i)
        require(clusters->data()[i] >= 0 && clusters->data()[i] < view.clusters, "clusters: numbers of clusters");
    return {clusters->data(), static_cast<std::int64_t>(clusters->size())};
}

inline clusterglm::VectorModel vector_model(const clusterglm::Problem& view, int coefficients, const Integers& effects, const Integers& rows,
                                     const Integers& columns, const Vector& theta) {
    const auto d = static_cast<std::int64_t>(effects.size());
    require(d >= 1 && d <= clusterglm::kMostEffects, "effects: from 1 to 8");
    require(coefficients >= 0 && coefficients <= view.p, "coefficients: of columns of X");
    require(rows.size() == columns.size(), "rows, columns: of the free entries of the factor");
    clusterglm::VectorModel model{coefficients, static_cast<int>(d), static_cast<int>(rows.size()), {}, {}, {}, {}, {}};
    require(theta.size() == static_cast<std::size_t>(model.parameters()), "theta: the coefficients and the free entries of the factor");
    model.beta.assign(static_cast<std::size_t>(view.p), 0.0);
    std::copy_n(theta.data(), coefficients, model.beta.begin());
    for (std::int64_t t = 0; t < d; ++t) {
        require(effects.data()[t] >= 0 && effects.data()[t] < view.p, "effects: numbers of columns of X");
        model.columns.push_back(effects.data()[t]);
    }
    for (std::size_t e = 0; e < rows.size(); ++e) {
        const std::int64_t row = rows.data()[e], column = columns.data()[e];
        require(0 <= column && column <= row && row < d, "rows, columns: of the lower triangle");
        model.row.push_back(row), model.col.push_back(column);
        model.L[row][column] = theta.data()[coefficients + e];
    }
    return model;
}
