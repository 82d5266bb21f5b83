// Fixed blocks of work over threads: which thread does a block never matters, results are added in the order of the blocks.
#pragma once
#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace clusterglm {

// Threads that are joined when they go out of scope: std::jthread, which Apple's library does not have.
struct Joined {
    std::vector<std::thread> threads;
    ~Joined() {
        for (std::thread& each : threads) each.join();
    }
};

// Runs body(worker, block) for every block. `interrupted` is asked now and then on the calling thread; once it says true no
// further block starts. Returns false if it did.
template <class Body>
bool for_blocks(std::int64_t blocks, int threads, const Body& body, const std::function<bool()>& interrupted) {
    using Clock = std::chrono::steady_clock;
    constexpr auto kPatience = std::chrono::milliseconds(50);
    std::atomic<std::int64_t> next{0};
    std::atomic<bool> stop{false};
    const int workers = static_cast<int>(std::clamp<std::int64_t>(blocks, 1, std::max(threads, 1)));
    const auto work = [&](int worker) {
        for (std::int64_t block; !stop.load(std::memory_order_relaxed) && (block = next.fetch_add(1)) < blocks;) body(worker, block);
    };
    {
        Joined others;
        for (int worker = 1; worker < workers; ++worker) others.threads.emplace_back(work, worker);
        auto asked = Clock::now();
        for (std::int64_t block; !stop.load(std::memory_order_relaxed) && (block = next.fetch_add(1)) < blocks;) {
            body(0, block);
            if (Clock::now() - asked > kPatience) {
                if (interrupted()) stop = true;
                asked = Clock::now();
            }
        }
    }
    return !stop.load();
}

// Sum with the rounding errors carried along (Neumaier 1974).
class CompensatedSum {
   public:
    void add(double x) {
        const double t = sum_ + x;
        rest_ += std::abs(sum_) >= std::abs(x) ? (sum_ - t) + x : (x - t) + sum_;
        sum_ = t;
    }
    double value() const { return sum_ + rest_; }

   private:
    double sum_ = 0.0, rest_ = 0.0;
};

}  // namespace clusterglm
