// Maps that have no closed form come as tables: piecewise Chebyshev polynomials in s, made in Python, with those of the
// derivatives, so that value, score and Hessian are those of one function.
#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "../location.hpp"

namespace clusterglm {

// Several functions of s, each a polynomial of `terms` Chebyshev coefficients on every piece [edges[i], edges[i + 1]].
struct PiecewiseChebyshev {
    std::vector<double> edges;
    int terms = 0;
    std::vector<double> coefficients;  // function by piece by term

    struct Place {
        const double* first;  // coefficients of the first function on the piece
        double x;             // in [-1, 1]
        bool inside;
    };

    std::size_t pieces() const { return edges.size() - 1; }

    CLUSTERGLM_INLINE Place find(double s) const {
        const auto after = std::upper_bound(edges.begin() + 1, edges.end() - 1, s);
        const std::size_t piece = static_cast<std::size_t>(after - edges.begin()) - 1;
        const double low = edges[piece], high = edges[piece + 1], x = (2.0 * s - low - high) / (high - low);
        return {coefficients.data() + piece * static_cast<std::size_t>(terms), std::clamp(x, -1.0, 1.0), x >= -1.0 && x <= 1.0};
    }

    CLUSTERGLM_INLINE double value(const Place& at, int function) const {
        const double* c = at.first + static_cast<std::size_t>(function) * pieces() * static_cast<std::size_t>(terms);
        double b1 = 0.0, b2 = 0.0;
        for (int i = terms - 1; i > 0; --i) {
            const double b = 2.0 * at.x * b1 - b2 + c[i];
            b2 = b1, b1 = b;
        }
        return at.x * b1 - b2 + c[0];
    }
};

// A scale family on the normal scale: the functions are y and its first four derivatives, T = y or T = sinh y. Beyond the table T is
// held: no probability lives there.
class ScaleTable final : public LocationMapOf<ScaleTable> {
   public:
    ScaleTable(PiecewiseChebyshev table, bool compressed) : table_(std::move(table)), compressed_(compressed) {}

    Location locate(double s, double sigma) const {
        const PiecewiseChebyshev::Place at = table_.find(s);
        double T[5]{};
        for (int n = 0; n < (at.inside ? 5 : 1); ++n) T[n] = table_.value(at, n);
        if (compressed_) {
            const double y1 = T[1], y2 = T[2], y3 = T[3], y4 = T[4], S = std::sinh(T[0]), C = std::sqrt(1.0 + S * S);
            T[0] = S;
            T[1] = C * y1;
            T[2] = S * y1 * y1 + C * y2;
            T[3] = C * (y1 * y1 * y1 + y3) + 3.0 * S * y1 * y2;
            T[4] = S * (y1 * y1 * y1 * y1 + 3.0 * y2 * y2 + 4.0 * y1 * y3) + C * (6.0 * y1 * y1 * y2 + y4);
        }
        return scaled(sigma, T, {-0.5 * s * s - kLogRootTwoPi, -s, -1.0, 0.0, 0.0});
    }
    bool log_concave() const override { return false; }
    double scan_point(double u) const override { return u; }

   private:
    PiecewiseChebyshev table_;
    bool compressed_;
};

// Any m(s, sigma) on the normal scale, at the one sigma for which the table was made: m..m4, r..r3, v..v2.
class MapTable final : public LocationMapOf<MapTable> {
   public:
    static constexpr int kFunctions = 12;

    explicit MapTable(PiecewiseChebyshev table) : table_(std::move(table)) {}

    Location locate(double s, double) const {
        const PiecewiseChebyshev::Place at = table_.find(s);
        std::array<double, kFunctions> f{};
        for (int n = 0; n < kFunctions; ++n)
            if (at.inside || n == 0 || n == 5 || n == 9) f[static_cast<std::size_t>(n)] = table_.value(at, n);
        return {f[0], f[1], f[2], f[3], f[4], f[5], f[6], f[7], f[8], f[9], f[10], f[11], -0.5 * s * s - kLogRootTwoPi, -s, -1.0, 0.0, 0.0};
    }
    bool log_concave() const override { return false; }
    double scan_point(double u) const override { return u; }

   private:
    PiecewiseChebyshev table_;
};

// Intercepts of another map with their own log-density, a - log |m1|, on the variable s: its mode is the intercept's own. The fourth
// derivative, which no search for a mode needs, is left out.
class OwnDensity final : public LocationMapOf<OwnDensity> {
   public:
    explicit OwnDensity(std::shared_ptr<const LocationMap> map) : map_(std::move(map)) {}

    Location locate(double s, double sigma) const {
        Location at = map_->at(s, sigma);
        if (at.m1 == 0.0) return at;
        const double u2 = at.m2 / at.m1, u3 = at.m3 / at.m1, u4 = at.m4 / at.m1;
        at.a -= std::log(std::fabs(at.m1));
        at.a1 -= u2;
        at.a2 -= u3 - u2 * u2;
        at.a3 -= u4 - 3.0 * u2 * u3 + 2.0 * u2 * u2 * u2;
        return at;
    }
    bool log_concave() const override { return false; }
    double scan_point(double u) const override { return u; }

   private:
    std::shared_ptr<const LocationMap> map_;
};

}  // namespace clusterglm
