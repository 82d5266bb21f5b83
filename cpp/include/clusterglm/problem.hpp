// The data as the core sees them: rows sorted by cluster, each response two numbers (a, b). Views only, nothing is owned.
#pragma once
#include <cstdint>

namespace clusterglm {

struct Problem {
    std::int64_t clusters, rows;
    int p;                          // columns of X
    const std::int64_t* starts;     // clusters + 1 row numbers
    const double* X;                // rows x p, row-major
    const double *a, *b, *offset;   // rows
    const double* cluster_weights;  // clusters
    bool unit;                      // every row has (a, b) = (1, 0) or (0, 1)
    bool weighted = true;           // some cluster's weight may differ from 1
    int own = 0;                    // parameters of the response's own
    const std::int64_t* groups = nullptr;  // rows: which of these each has, -1 for none
    const double* own_columns = nullptr;   // or rows x own, row-major: how much of each parameter there is in a row's own number
    const std::int64_t* own_numbers = nullptr;  // own: which of the kernel's own numbers that is; all the first where there are none

    double eta(std::int64_t row, const double* beta) const {
        const double* x = X + row * p;
        double sum = offset[row];
        for (int r = 0; r < p; ++r) sum += x[r] * beta[r];
        return sum;
    }
};

}  // namespace clusterglm
