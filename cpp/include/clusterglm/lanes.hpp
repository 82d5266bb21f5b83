// Four doubles at a time: a vector type that GCC and Clang keep in registers, and elementary functions on it without branches.
#pragma once
#include <bit>
#include <cmath>
#include <cstdint>

// Kernels whose parts are all inlined are up to twice as fast, and take up to four times as long to compile: not worth it without
// optimisation, nor for the x86 of before AVX2.
#if defined(__OPTIMIZE__) && (defined(__AVX2__) || !defined(__x86_64__))
#define CLUSTERGLM_INLINE inline __attribute__((always_inline))
#define CLUSTERGLM_INLINE_LAMBDA __attribute__((always_inline))
#else
#define CLUSTERGLM_INLINE inline
#define CLUSTERGLM_INLINE_LAMBDA
#endif

// Parts of a kernel that do much at a call and are asked for in many places: compiled once.
#if defined(__GNUC__)
#define CLUSTERGLM_APART __attribute__((noinline))
#else
#define CLUSTERGLM_APART
#endif

// Packs are passed by value only within a file, where all are compiled alike, so their ABI never shows.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wpsabi"
#endif

namespace clusterglm {

using Pack = double __attribute__((vector_size(32)));
using PackBits = std::uint64_t __attribute__((vector_size(32)));
using PackMask = decltype(Pack{} < Pack{});

inline constexpr int kLanes = 4;

// Arrays over nodes, rows or parameters are padded to whole packs.
constexpr int padded(int count) { return (count + kLanes - 1) / kLanes * kLanes; }

// Not by memcpy, which might write anything: compilers would fetch every pointer again after every store. A typedef, because Clang
// does not hear of an alignment in `using`.
typedef double PackInArray __attribute__((vector_size(32), aligned(8)));
static_assert(alignof(PackInArray) == alignof(double));
CLUSTERGLM_INLINE Pack load(const double* from) { return *reinterpret_cast<const PackInArray*>(from); }
CLUSTERGLM_INLINE void store(double* to, Pack x) { *reinterpret_cast<PackInArray*>(to) = x; }
CLUSTERGLM_INLINE Pack all(double x) { return Pack{x, x, x, x}; }
CLUSTERGLM_INLINE double reduce(Pack x) { return (x[0] + x[2]) + (x[1] + x[3]); }

// What lanes are. A quantity V of one cluster is a double, and lanes run over its rows or nodes; of four clusters at once it is a
// Pack, and every lane is a cluster. Arrays of V are arrays of doubles, so that one loop over packs serves both.
template <class V>
inline constexpr int kWidth = sizeof(V) / sizeof(double);

template <class V>
CLUSTERGLM_INLINE V get(const double* from, int i) {
    if constexpr (kWidth<V> == 1) return from[i];
    else return load(from + i * kLanes);
}
// The sum over lanes that belong to one cluster.
template <class V>
CLUSTERGLM_INLINE V gather(Pack x) {
    if constexpr (kWidth<V> == 1) return reduce(x);
    else return x;
}
// The greatest of them.
template <class V>
CLUSTERGLM_INLINE V greatest(Pack x) {
    if constexpr (kWidth<V> > 1) return x;
    const double left = x[0] > x[1] ? x[0] : x[1], right = x[2] > x[3] ? x[2] : x[3];
    return V{} + (left > right ? left : right);
}
CLUSTERGLM_INLINE Pack spread(double x) { return all(x); }
CLUSTERGLM_INLINE Pack spread(Pack x) { return x; }
CLUSTERGLM_INLINE double lane(double x, int) { return x; }
CLUSTERGLM_INLINE double lane(Pack x, int l) { return x[l]; }

// Calls body<n>() for n up to 8, so that the compiler knows the count and unrolls loops, and else body<0>().
template <class Body>
CLUSTERGLM_INLINE auto with_known(int n, const Body& body) {
    switch (n) {
        case 1: return body.template operator()<1>();
        case 2: return body.template operator()<2>();
        case 3: return body.template operator()<3>();
        case 4: return body.template operator()<4>();
        case 5: return body.template operator()<5>();
        case 6: return body.template operator()<6>();
        case 7: return body.template operator()<7>();
        case 8: return body.template operator()<8>();
        default: return body.template operator()<0>();
    }
}

// Two numbers of each of four rows as two columns.
CLUSTERGLM_INLINE void two_columns(const double* first, const double* second, const double* third, const double* fourth, Pack& x, Pack& y) {
    typedef double Half __attribute__((vector_size(16), aligned(8)));
    const auto half = [](const double* from) CLUSTERGLM_INLINE_LAMBDA { return *reinterpret_cast<const Half*>(from); };
    const Pack odd = __builtin_shufflevector(half(first), half(third), 0, 1, 2, 3), even = __builtin_shufflevector(half(second), half(fourth), 0, 1, 2, 3);
    x = __builtin_shufflevector(odd, even, 0, 4, 2, 6), y = __builtin_shufflevector(odd, even, 1, 5, 3, 7);
}

namespace lanes {

template <class V>
struct BitsOf;
template <>
struct BitsOf<double> {
    using type = std::uint64_t;
};
template <>
struct BitsOf<Pack> {
    using type = PackBits;
};
template <class V>
using Bits = typename BitsOf<V>::type;

template <class V>
CLUSTERGLM_INLINE V magnitude(V x) {
    return std::bit_cast<V>(std::bit_cast<Bits<V>>(x) & ~(std::uint64_t{1} << 63));
}
template <class V>
CLUSTERGLM_INLINE auto finite(V x) {
    return x - x == V{};
}
CLUSTERGLM_INLINE bool every(bool mask) { return mask; }
CLUSTERGLM_INLINE bool every(PackMask mask) {
    const auto both = __builtin_shufflevector(mask, mask, 0, 1) & __builtin_shufflevector(mask, mask, 2, 3);
    return (both[0] & both[1]) != 0;
}

CLUSTERGLM_INLINE double sqrt(double x) { return std::sqrt(x); }
CLUSTERGLM_INLINE Pack sqrt(Pack x) { return Pack{std::sqrt(x[0]), std::sqrt(x[1]), std::sqrt(x[2]), std::sqrt(x[3])}; }

// exp(x), under 2 ulp for |x| <= 708; arguments beyond are clamped there. V is double or Pack, here and below.
template <class V>
CLUSTERGLM_INLINE V exp(V x) {
    constexpr double kLog2E = 1.4426950408889634074, kLn2High = 6.93147180369123816490e-01, kLn2Low = 1.90821492927058770002e-10;
    constexpr double kRound = 0x1.8p52;  // adding it leaves the nearest integer in the low bits of the sum
    const V zero{}, bottom = zero - 708.0, top = zero + 708.0;
    x = x < bottom ? bottom : x;
    x = x > top ? top : x;
    const V shifted = x * kLog2E + kRound;
    const V n = shifted - kRound;
    const V r = (x - n * kLn2High) - n * kLn2Low;
    // (exp(r) - 1 - r)/r^2 for |r| <= log(2)/2, by Remez' algorithm, relative error of exp 4e-18; in pairs, which need not wait
    // for one another.
    const V r2 = r * r, r4 = r2 * r2;
    const V p01 = 0x1.55555555554f9p-3 * r + 0x1.000000000000ap-1, p23 = 0x1.1111111127d10p-7 * r + 0x1.555555555083ep-5;
    const V p45 = 0x1.a01a012a0e882p-13 * r + 0x1.6c16c18438b2ap-10, p67 = 0x1.71df25b4a6a5cp-19 * r + 0x1.a01999e25ce43p-16;
    const V p89 = 0x1.ad7f3c411bf5bp-26 * r + 0x1.28ad9b8b7c16bp-22;
    const V p = (p23 * r2 + p01) + ((p67 * r2 + p45) + p89 * r4) * r4;
    const V mantissa = 1.0 + (r + r2 * p);
    const Bits<V> exponent = (std::bit_cast<Bits<V>>(shifted) << 52) + (std::uint64_t{1023} << 52);
    return mantissa * std::bit_cast<V>(exponent);
}

// log(x) for positive normal x, under 2 ulp: x = 2^k m with m in [sqrt(1/2), sqrt(2)), log m = 2 atanh((m - 1)/(m + 1)).
template <class V>
CLUSTERGLM_INLINE V log(V x) {
    constexpr std::uint64_t kRootHalf = 0x3fe6a09e667f3bcdULL, kBias = std::uint64_t{1024} << 52;
    const auto bits = std::bit_cast<Bits<V>>(x);
    const Bits<V> biased = (bits - kRootHalf + kBias) >> 52;
    const V m = std::bit_cast<V>(bits - ((biased - std::uint64_t{1024}) << 52));
    const V k = std::bit_cast<V>(biased | std::uint64_t{0x4330000000000000ULL}) - (4503599627370496.0 + 1024.0);
    const V f = (m - 1.0) / (m + 1.0), s = f * f;
    const V s2 = s * s, s4 = s2 * s2;  // in pairs, as above
    const V low = (1.0 / 3.0 + s * (1.0 / 5.0)) + s2 * (1.0 / 7.0 + s * (1.0 / 9.0));
    const V middle = (1.0 / 11.0 + s * (1.0 / 13.0)) + s2 * (1.0 / 15.0 + s * (1.0 / 17.0));
    const V p = low + s4 * (middle + s4 * (1.0 / 19.0 + s * (1.0 / 21.0)));
    constexpr double kLn2High = 6.93147180369123816490e-01, kLn2Low = 1.90821492927058770002e-10;
    return k * kLn2High + (2.0 * f + (2.0 * f * s * p + k * kLn2Low));
}

// 1 - exp(-x) for x >= 0 given exp(-x): a series where the difference would cancel.
template <class V>
CLUSTERGLM_INLINE V one_minus_exp(V x, V exp_minus_x) {
    const V border = V{} + 0.35, t = x < border ? x : border;
    V p = -1.0 / 6227020800.0 * t + 1.0 / 479001600.0;
    p = p * -t + 1.0 / 39916800.0;
    p = p * -t + 1.0 / 3628800.0;
    p = p * -t + 1.0 / 362880.0;
    p = p * -t + 1.0 / 40320.0;
    p = p * -t + 1.0 / 5040.0;
    p = p * -t + 1.0 / 720.0;
    p = p * -t + 1.0 / 120.0;
    p = p * -t + 1.0 / 24.0;
    p = p * -t + 1.0 / 6.0;
    p = p * -t + 0.5;
    p = p * -t + 1.0;
    return x < border ? t * p : 1.0 - exp_minus_x;
}

}  // namespace lanes
}  // namespace clusterglm
