// The kernels for x86-64-v3, in a module that _core imports where the processor knows these instructions. No other code is ever
// linked with this: a linker keeps one copy of an inline function, and older processors would crash at that one.
#include <nanobind/nanobind.h>

#include "kernels.hpp"

NB_MODULE(_core_v3, module) { module.attr("kernels") = nanobind::capsule(&kernels()); }
