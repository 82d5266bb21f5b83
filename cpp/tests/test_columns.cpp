// Columns side by side, against the same number by number, under sanitizers.
#include <cmath>
#include <cstdio>
#include <limits>
#include <vector>

#include "clusterglm/columns.hpp"

namespace {

int failed = 0;

void check(bool condition, const char* what, std::int64_t n, int p) {
    if (condition) return;
    ++failed;
    std::printf("FAILED: %s, %lld rows, %d columns\n", what, static_cast<long long>(n), p);
}

// n rows, p columns of which the first is ones; `broken` is the row in which the last column is NaN, or -1.
void test(std::int64_t n, int p, std::int64_t broken) {
    std::vector<std::vector<double>> columns(static_cast<std::size_t>(p));
    std::vector<const double*> from(static_cast<std::size_t>(p), nullptr);
    for (int j = 1; j < p; ++j) {
        columns[j].reserve(static_cast<std::size_t>(n) + 1);  // an address even without rows
        for (std::int64_t i = 0; i < n; ++i) columns[j].push_back(std::sin(1.0 + static_cast<double>(i * p + j)) * (j + 1));
        from[j] = columns[j].data();
    }
    if (broken >= 0) columns[p - 1][broken] = std::numeric_limits<double>::quiet_NaN();
    std::vector<double> X(static_cast<std::size_t>(n * p)), ranges(static_cast<std::size_t>(2 * p));
    clusterglm::side_by_side(from.data(), n, p, X.data(), ranges.data());
    for (int j = 0; j < p; ++j) {
        double low = std::numeric_limits<double>::infinity(), high = -low;
        for (std::int64_t i = 0; i < n; ++i) {
            const double x = j == 0 ? 1.0 : columns[j][i], found = X[i * p + j];
            check(found == x || (found != found && x != x), "value", n, p);
            low = std::fmin(low, x), high = std::fmax(high, x);
        }
        if (j == 0) low = high = 1.0;
        if (j == p - 1 && broken >= 0)
            check(ranges[2 * j] != ranges[2 * j] && ranges[2 * j + 1] != ranges[2 * j + 1], "NaN in the range", n, p);
        else
            check(ranges[2 * j] == low && ranges[2 * j + 1] == high, "range", n, p);
    }
}

}  // namespace

int main() {
    for (const std::int64_t n : {0, 1, 3, 4, 5, 511, 512, 513, 1500})
        for (int p = 1; p <= 18; ++p) {
            test(n, p, -1);
            if (p > 1)
                for (const std::int64_t row : {std::int64_t{0}, n / 2, n - 1})
                    if (row >= 0 && row < n) test(n, p, row);
        }
    std::printf("columns: %d failed\n", failed);
    return failed == 0 ? 0 : 1;
}
