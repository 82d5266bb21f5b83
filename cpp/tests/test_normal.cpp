// Sums over units of normal responses, against the same number by number, under sanitizers.
#include <cmath>
#include <cstdio>
#include <vector>

#include "clusterglm/normal.hpp"

namespace {

int failed = 0;

void check(double found, double expected, const char* what, int i, int j) {
    if (std::fabs(found - expected) <= 1e-10 * (1.0 + std::fabs(expected))) return;
    ++failed;
    std::printf("FAILED: %s at %d, %d: %.17g for %.17g\n", what, i, j, found, expected);
}

std::vector<double> numbers(std::size_t count, double from) {
    std::vector<double> found(count);
    for (std::size_t k = 0; k < count; ++k) found[k] = std::sin(from + 1.7 * static_cast<double>(k));
    found.shrink_to_fit();
    return found;
}

// Products of n rows of i and j numbers, in runs of which some are empty.
void products(int n, int i, int j) {
    const std::vector<double> left = numbers(static_cast<std::size_t>(n) * i, 0.3), right = numbers(static_cast<std::size_t>(n) * j, 0.9);
    const std::vector<std::int64_t> starts{0, n / 3, n / 3, n - n / 4, n};
    const int units = 4, size = 4, width = j + 1;
    std::vector<double> found(static_cast<std::size_t>(i) * width * size, 7.0);
    clusterglm::normal_products(left.data(), right.data(), n, starts.data(), units, i, j, 1, width, size, found.data());
    for (int a = 0; a < i; ++a)
        for (int u = 0; u < units; ++u) {
            check(found[(a * width) * size + u], 7.0, "what is beside", a, u);
            for (int b = 0; b < j; ++b) {
                double sum = 0.0;
                for (std::int64_t row = starts[u]; row < starts[u + 1]; ++row) sum += left[row * i + a] * right[row * j + b];
                check(found[(a * width + 1 + b) * size + u], sum, "products", a, b);
            }
        }
}

// Units with G = A'A, of one of which the weight is 0: values and slopes against V = I + Z M Z' with Z = A.
void units(int d, int k) {
    const int size = 8;
    std::vector<double> G(static_cast<std::size_t>(d) * d * size), R = numbers(static_cast<std::size_t>(d) * k * size, 0.2), w(size, 1.0);
    std::vector<double> L(static_cast<std::size_t>(d) * d, 0.0), v = numbers(static_cast<std::size_t>(k), 0.6);
    w[3] = 2.0, w[7] = 0.0;
    for (int a = 0; a < d; ++a)
        for (int b = 0; b <= a; ++b) L[a * d + b] = a == b ? 0.8 : 0.3;
    for (int u = 0; u < size; ++u) {
        const std::vector<double> A = numbers(static_cast<std::size_t>(d) * d, 0.1 + u);
        for (int a = 0; a < d; ++a)
            for (int b = 0; b < d; ++b) {
                double sum = 0.0;
                for (int c = 0; c < d; ++c) sum += A[c * d + a] * A[c * d + b];
                G[(a * d + b) * size + u] = sum;
            }
    }
    const clusterglm::NormalUnits all{d, k, size, G.data(), R.data(), w.data()};
    std::vector<double> value(static_cast<std::size_t>(1 + k * k)), slopes(static_cast<std::size_t>(d * d * (1 + k + 2 * d * d)));
    clusterglm::normal_value(all, L.data(), value.data());
    clusterglm::normal_slopes(all, L.data(), v.data(), slopes.data());
    // log|I + M G| and K = M (I + G M)^-1 by Gauss-Jordan elimination of [I + G M | I]
    double logdet = 0.0;
    std::vector<double> explained(static_cast<std::size_t>(k * k), 0.0), H(static_cast<std::size_t>(d * d), 0.0);
    for (int u = 0; u < size; ++u) {
        std::vector<double> M(static_cast<std::size_t>(d * d)), W(static_cast<std::size_t>(2 * d * d), 0.0), K(static_cast<std::size_t>(d * d));
        for (int a = 0; a < d; ++a)
            for (int b = 0; b < d; ++b)
                for (int c = 0; c < d; ++c) M[a * d + b] += L[a * d + c] * L[b * d + c];
        for (int a = 0; a < d; ++a) {
            W[a * 2 * d + a] = 1.0, W[a * 2 * d + d + a] = 1.0;
            for (int b = 0; b < d; ++b)
                for (int c = 0; c < d; ++c) W[a * 2 * d + b] += G[(a * d + c) * size + u] * M[c * d + b];
        }
        double log_of = 0.0;
        for (int c = 0; c < d; ++c) {
            const double pivot = W[c * 2 * d + c];
            log_of += std::log(std::fabs(pivot));
            for (int b = 0; b < 2 * d; ++b) W[c * 2 * d + b] /= pivot;
            for (int a = 0; a < d; ++a)
                if (a != c) {
                    const double by = W[a * 2 * d + c];
                    for (int b = 0; b < 2 * d; ++b) W[a * 2 * d + b] -= by * W[c * 2 * d + b];
                }
        }
        logdet += w[u] * log_of;
        for (int a = 0; a < d; ++a)
            for (int b = 0; b < d; ++b)
                for (int c = 0; c < d; ++c) {
                    K[a * d + b] += M[a * d + c] * W[c * 2 * d + d + b];
                    H[a * d + b] += w[u] * W[a * 2 * d + d + c] * G[(c * d + b) * size + u];
                }
        for (int i = 0; i < k; ++i)
            for (int j = 0; j < k; ++j)
                for (int a = 0; a < d; ++a)
                    for (int b = 0; b < d; ++b) explained[i * k + j] += w[u] * R[(a * k + i) * size + u] * K[a * d + b] * R[(b * k + j) * size + u];
    }
    check(value[0], logdet, "log-determinant", d, k);
    for (int i = 0; i < k; ++i)
        for (int j = 0; j < k; ++j) check(value[1 + i * k + j], explained[i * k + j], "what effects explain", i, j);
    for (int a = 0; a < d; ++a)
        for (int b = 0; b < d; ++b) check(slopes[a * d + b], H[a * d + b], "H", a, b);
}

}  // namespace

int main() {
    for (const int n : {0, 1, 2, 3, 5, 8, 31})
        for (int i = 1; i <= 3; ++i)
            for (int j = 1; j <= 10; ++j) products(n, i, j);
    products(9, 2, 35);
    for (int d = 1; d <= clusterglm::kNormalEffects; ++d)
        for (int k = 1; k <= 6; ++k) units(d, k);
    std::printf("normal: %d failed\n", failed);
    return failed == 0 ? 0 : 1;
}
