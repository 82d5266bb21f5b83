// Fixed blocks of work over threads: which thread does a block never matters, results are added in the order of the blocks.
#pragma once
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace clusterglm {

// More threads than any machine has a use for.
inline constexpr int kMostThreads = 1024;
constexpr int worker_count(std::int64_t blocks, int threads) {
    return static_cast<int>(std::clamp<std::int64_t>(blocks, 1, std::clamp(threads, 1, kMostThreads)));
}

// Thrown by `checkpoint`, and caught by `for_blocks`.
struct Stopped {};

// The threads of one call: the one that calls, and the others. It alone may ask whether the user wants an end, the reason why it
// does not sleep while others work.
class Team {
   public:
    explicit Team(const std::function<bool()>& interrupted) : interrupted_(interrupted) {}

    bool stopped() const { return stop_.load(std::memory_order_relaxed); }

    void ask() {
        const auto now = Clock::now();
        if (stopped() || now - asked_ < kPatience) return;
        asked_ = now;
        was_interrupted_ = interrupted_();
        if (was_interrupted_) stop_ = true;
    }

    void enter() {
        const std::lock_guard lock(mutex_);
        ++others_;
    }
    void leave() {
        const std::lock_guard lock(mutex_);
        if (--others_ == 0) all_left_.notify_one();
    }
    void wait() {
        std::unique_lock lock(mutex_);
        while (!all_left_.wait_for(lock, kPatience, [&] { return others_ == 0; })) {
            lock.unlock();
            ask();
            lock.lock();
        }
    }

    // The first failure ends the work of all, and becomes the caller's.
    void fail(std::exception_ptr failure) {
        const std::lock_guard lock(mutex_);
        if (!failure_) failure_ = std::move(failure);
        stop_ = true;
    }
    bool completed() const {
        if (failure_ && !was_interrupted_) std::rethrow_exception(failure_);
        return !was_interrupted_;
    }

   private:
    using Clock = std::chrono::steady_clock;
    static constexpr auto kPatience = std::chrono::milliseconds(50);

    const std::function<bool()>& interrupted_;
    std::atomic<bool> stop_{false};
    bool was_interrupted_ = false;
    Clock::time_point asked_ = Clock::now();
    std::mutex mutex_;
    std::condition_variable all_left_;
    int others_ = 0;
    std::exception_ptr failure_;
};

// The team that a thread works for.
struct Member {
    Team* team = nullptr;
    bool calls = false;
    std::int64_t work = 0;  // since it last looked around
};
inline thread_local constinit Member member;

// Where long work may end early, by an exception. Between two of them lie at most a few passes over the rows of one cluster. work:
// what has been done since the last one, in nanoseconds or so, for only now and then is it worth a look at the clock.
inline void checkpoint(std::int64_t work) {
    constexpr std::int64_t kOften = 100'000;
    Member& own = member;
    if ((own.work += work) < kOften) return;
    own.work = 0;
    if (!own.team) return;
    if (own.calls) own.team->ask();
    if (own.team->stopped()) throw Stopped{};
}

// Threads that are joined when they go out of scope: std::jthread, which Apple's library does not have.
struct Joined {
    std::vector<std::thread> threads;
    ~Joined() {
        for (std::thread& each : threads) each.join();
    }
};

// Runs body(worker, block) for every block. `interrupted` is asked now and then on the calling thread; once it says true all work
// ends. Returns false if it did. What body throws in any thread is thrown here.
template <class Body>
bool for_blocks(std::int64_t blocks, int threads, const Body& body, const std::function<bool()>& interrupted) {
    Team team(interrupted);
    std::atomic<std::int64_t> next{0};
    const auto work = [&](int worker) {
        member = {&team, worker == 0};
        try {
            for (std::int64_t block; !team.stopped() && (block = next.fetch_add(1)) < blocks;) {
                body(worker, block);
                if (worker == 0) team.ask();
            }
        } catch (const Stopped&) {
        } catch (...) {
            team.fail(std::current_exception());
        }
        member = {};
    };
    const int workers = worker_count(blocks, threads);
    Joined others;
    others.threads.reserve(static_cast<std::size_t>(workers));
    for (int worker = 1; worker < workers; ++worker) {
        team.enter();
        try {
            others.threads.emplace_back([&, worker] {
                work(worker);
                team.leave();
            });
        } catch (const std::system_error&) {  // the system has no more of them: fewer do the same work
            team.leave();
            break;
        }
    }
    work(0);
    team.wait();
    return team.completed();
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
