// Work shared by threads: it is all done once, failures reach the caller, and it ends soon when the caller wants it to.
#include <chrono>
#include <cstdio>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "clusterglm/parallel.hpp"

using namespace clusterglm;

namespace {

int failed = 0;

void check(bool condition, const std::string& what, int threads) {
    if (condition) return;
    ++failed;
    std::printf("FAILED: %s, %d threads\n", what.c_str(), threads);
}

bool never() { return false; }

// Without end, but for those who look around.
void endless() {
    for (;;) checkpoint(1000);
}

void test(int threads) {
    std::vector<int> times(1000, 0);
    check(for_blocks(1000, threads, [&](int, std::int64_t block) { ++times[static_cast<std::size_t>(block)]; }, never), "completed", threads);
    check(times == std::vector<int>(1000, 1), "each block once", threads);
    check(for_blocks(0, threads, [](int, std::int64_t) { throw std::logic_error("none"); }, never), "nothing to do", threads);

    // One thread fails, and all others work until they are told of it.
    const auto fails = [&](auto failure, const char* what) {
        try {
            for_blocks(
                1000, threads,
                [&](int, std::int64_t block) {
                    if (block == threads - 1) throw failure;
                    endless();
                },
                never);
            check(false, what, threads);
        } catch (const decltype(failure)&) {
        }
    };
    fails(std::bad_alloc(), "no memory");
    fails(std::runtime_error("no"), "another failure");

    using Clock = std::chrono::steady_clock;
    for (const bool only_others : {false, true}) {
        const auto start = Clock::now();
        int asked = 0;
        const bool completed = for_blocks(
            threads, threads,
            [&](int worker, std::int64_t) {
                if (worker > 0 || !only_others || threads == 1) endless();
            },
            [&] { return ++asked == 2; });
        check(!completed || (only_others && asked < 2), "told of the end", threads);
        check(Clock::now() - start < std::chrono::seconds(5), "an end soon", threads);
    }
}

}  // namespace

int main() {
    for (const int threads : {1, 2, 3, 8}) test(threads);
    check(worker_count(5, 1'000'000'000) == 5 && worker_count(1'000'000'000, 1'000'000'000) == kMostThreads && worker_count(0, -1) == 1, "workers", 0);
    checkpoint(1'000'000'000);  // outside of any work
    std::printf("parallel: %d failed\n", failed);
    return failed == 0 ? 0 : 1;
}
