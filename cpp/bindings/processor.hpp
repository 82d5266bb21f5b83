// What this processor knows, asked without help of a compiler's library, which not every platform links.
#pragma once

#if defined(__x86_64__)
#include <cpuid.h>

// x86-64-v3 on top of what every x86-64 has: AVX2, FMA and their kin, and an operating system that keeps the registers.
inline bool knows_x86_64_v3() {
    const auto has = [](unsigned leaf, unsigned bits_b, unsigned bits_c) {
        unsigned a = 0, b = 0, c = 0, d = 0;
        return __get_cpuid_count(leaf, 0, &a, &b, &c, &d) != 0 && (b & bits_b) == bits_b && (c & bits_c) == bits_c;
    };
    constexpr unsigned kSSE3 = 1u << 0, kSSSE3 = 1u << 9, kFMA = 1u << 12, kCX16 = 1u << 13, kSSE41 = 1u << 19, kSSE42 = 1u << 20, kMOVBE = 1u << 22,
                       kPOPCNT = 1u << 23, kOSXSAVE = 1u << 27, kAVX = 1u << 28, kF16C = 1u << 29;
    constexpr unsigned kBMI1 = 1u << 3, kAVX2 = 1u << 5, kBMI2 = 1u << 8, kLAHF = 1u << 0, kLZCNT = 1u << 5;
    if (!has(1, 0, kSSE3 | kSSSE3 | kFMA | kCX16 | kSSE41 | kSSE42 | kMOVBE | kPOPCNT | kOSXSAVE | kAVX | kF16C)) return false;
    if (!has(7, kBMI1 | kAVX2 | kBMI2, 0) || !has(0x80000001u, 0, kLAHF | kLZCNT)) return false;
    unsigned low = 0, high = 0;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    constexpr unsigned kVectors = 6;  // the state of XMM and YMM registers
    return (low & kVectors) == kVectors;
}
#endif
