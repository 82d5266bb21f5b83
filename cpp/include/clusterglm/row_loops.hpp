// What the likelihoods of several effects, of one factor, nested or crossed, ask of a kernel: loops over rows, which are compiled with it
// (loops.hpp). All else of theirs knows no response, and is compiled once.
#pragma once
#include "lanes.hpp"
#include "nested_cells.hpp"
#include "vector_cells.hpp"

namespace clusterglm {

struct FourDerivatives {
    Pack *G, *H, *I, *K;
};

// Loops over points for d effects, where the compiler knows d or not.
struct VectorFunctions {
    // Rows first..last at all points (value: the integrand), or at those that carry weight; kept: G and H.
    void (*evaluate)(VectorCells&, int first, int last, bool kept, bool value);
    // G, H and I at points that carry weight.
    void (*derive)(VectorCells&, int first, int last);
};

struct RowLoops {
    // Of `size` rows, whole packs, at lambda; fast: none of them is far. Rows with a = b = 0 are empty.
    double (*log_p)(const double* lambda, const double* a, const double* b, int size, bool fast);
    void (*derivatives)(const double* lambda, const double* a, const double* b, int size, bool fast, double* G, double* H, double* I);
    // The same, and the sums of slope G and slope^2 H.
    void (*derivatives_along)(const double* lambda, const double* a, const double* b, const double* slope, int size, bool fast, double* G, double* H,
                              double* I, double* first, double* second);
    // log P and derivatives of four clusters side by side, of n rows each.
    void (*log_p_by_fours)(const Pack* lambda, const Pack* a, const Pack* b, int n, Pack* sum);
    void (*derivatives_by_fours)(const Pack* lambda, const Pack* a, const Pack* b, int n, const FourDerivatives& to);
    VectorFunctions vector[3];  // of any number of effects, of one, of two
    // Rows first..last of the child at hand at its cells (value: the integrand). If they are to be kept, G and H go to cells x rows packs;
    // otherwise they are null.
    void (*nested)(NestedCells&, int first, int last, bool value, double* G, double* H);
};

}  // namespace clusterglm
