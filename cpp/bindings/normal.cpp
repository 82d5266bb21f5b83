// Sums over the units of normal responses: shape checks, the GIL, and nothing else.
#include "handles.hpp"

namespace {

using clusterglm::kNormalEffects;

std::int64_t size_of(const Cube& array) { return static_cast<std::int64_t>(array.shape(2)); }

clusterglm::NormalUnits units_of(const Cube& squares, const Cube& products, const Vector& weights, const Matrix& root) {
    const std::size_t d = squares.shape(0);
    require(d >= 1 && d <= static_cast<std::size_t>(kNormalEffects) && squares.shape(1) == d, "squares: effects by effects by units");
    require(products.shape(0) == d && products.shape(1) >= 1 && size_of(products) == size_of(squares), "products: effects by columns by units");
    require(static_cast<std::int64_t>(weights.size()) == size_of(squares), "weights: one of each unit");
    require(weights.size() % clusterglm::kLanes == 0, "units: a whole number of packs");
    require(root.shape(0) == d && root.shape(1) == d, "root: effects by effects");
    return {static_cast<int>(d), static_cast<int>(products.shape(1)), size_of(squares), squares.data(), products.data(), weights.data()};
}

void products(Matrix left, Matrix right, Integers starts, OutCube found, int place) {
    require(starts.size() >= 1, "starts: of each unit, and the end");
    const std::size_t n = left.shape(0), units = starts.size() - 1;
    require(right.shape(0) == n, "right: as many rows as left");
    require( starts.data()[0] >= 0 && starts.data()[units] <= static_cast<std::int64_t>(n), "starts: rows of the data");
    for (std::size_t u = 0; u < units; ++u) require(starts.data()[u] <= starts.data()[u + 1], "starts: ascending");
    require(place >= 0 && found.shape(0) == left.shape(1) && found.shape(1) >= place + right.shape(1) && found.shape(2) >= units,
            "found: left by right, from their place on, by units");
    if (left.shape(1) == 0 || right.shape(1) == 0) return;
    nb::gil_scoped_release release;
    chosen->normal_products(left.data(), right.data(), static_cast<std::int64_t>(n), starts.data(), static_cast<std::int64_t>(units),
                            static_cast<int>(left.shape(1)), static_cast<int>(right.shape(1)), place, static_cast<int>(found.shape(1)),
                            static_cast<std::int64_t>(found.shape(2)), found.data());
}

void value(Cube squares, Cube products, Vector weights, Matrix root, OutVector found) {
    const clusterglm::NormalUnits units = units_of(squares, products, weights, root);
    require(found.size() == 1 + products.shape(1) * products.shape(1), "found: a number, and columns by columns");
    nb::gil_scoped_release release;
    chosen->normal_value(units, root.data(), found.data());
}

void slopes(Cube squares, Cube products, Vector weights, Matrix root, Vector v, OutVector found) {
    const clusterglm::NormalUnits units = units_of(squares, products, weights, root);
    const std::size_t d = squares.shape(0), k = products.shape(1);
    require(v.size() == k, "v: one number of each column");
    require(found.size() == d * d * (1 + k + 2 * d * d), "found: see normal.hpp");
    nb::gil_scoped_release release;
    chosen->normal_slopes(units, root.data(), v.data(), found.data());
}

}  // namespace

void add_normal(nb::module_& module) {
    module.attr("NORMAL_EFFECTS") = kNormalEffects;
    module.def("normal_products", &products, nb::arg("left"), nb::arg("right"), nb::arg("starts"), nb::arg("found"),
               nb::arg("place"));
    module.def("normal_value", &value, nb::arg("squares"), nb::arg("products"), nb::arg("weights"), nb::arg("root"), nb::arg("found"));
    module.def("normal_slopes", &slopes, nb::arg("squares"), nb::arg("products"), nb::arg("weights"), nb::arg("root"), nb::arg("v"),
               nb::arg("found"));
}
