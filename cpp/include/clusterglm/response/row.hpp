// What a response file takes and gives: one row as two non-negative numbers (a, b), or a pack of rows. V is double or Pack.
#pragma once

namespace clusterglm {

template <class V>
struct Row {
    V eta;  // linear predictor without the random intercept
    V e;    // exp(eta)
    V a;    // binomial: weight * successes; Poisson: weight * count
    V b;    // binomial: weight * failures;  Poisson: weight
};

// At one node: log P = [a*lambda if kLinear] + additive + log(factor), and its first two derivatives in
// lambda. For 0/1 data (Unit) the probability itself is in the factor, so that the product over a cluster's rows
// weights a node without a logarithm; for other weights logarithms go into the additive part and the factor is 1.
template <class V>
struct NodeTerms {
    V additive, factor, G, H;
};

// First to fourth derivative of the row's log-probability in lambda.
template <class V>
struct RowDerivatives {
    V G, H, I, K;
};

// The whole of it by a slower formula that holds for any lambda.
struct StableTerms {
    double value, G, H, I, K;
};

// Kernels with parameters of their own: log P depends on `kOwn` numbers w besides lambda, one or two. Pairs of them in the order
// (1, 1), (2, 1), (2, 2).
constexpr int own_pairs(int numbers) { return numbers * (numbers + 1) / 2; }
constexpr int own_pair(int i, int k) { return i < k ? own_pair(k, i) : own_pairs(i) + k; }

// Derivatives in each w, in lambda and w, and twice in w, at a node ...
template <class V, int J = 1>
struct OwnTerms {
    V g[J], Gg[J], gg[own_pairs(J)];
};
template <class V, int J = 1>
struct NodeTermsWithOwn : NodeTerms<V> {
    OwnTerms<V, J> own;
};
template <int J>
struct StableTermsWithOwns : StableTerms {
    OwnTerms<double, J> own;
};
using StableTermsWithOwn = StableTermsWithOwns<1>;

// ... and at the mode: of dl/dw once, twice and three times in lambda, of d2l/dw2 once and twice.
template <class V, int J = 1>
struct OwnAtMode {
    V Gg[J], Hg[J], Ig[J], Ggg[own_pairs(J)], Hgg[own_pairs(J)];
};

template <class R>
inline constexpr bool kHasOwn = requires { R::kOwn; };
template <class R>
constexpr int own_numbers() {
    if constexpr (kHasOwn<R>) return static_cast<int>(R::kOwn);
    else return 1;  // of no account
}
template <class R>
inline constexpr int kOwnNumbers = own_numbers<R>();

// Kernels of which a cluster is as good as one row (collapse.hpp): `kCollapses` is 1 where log P is a lambda - b exp(lambda), -1 where it
// is that of -lambda, else 0. Without parameters of its own such a row's derivatives at nodes are the nodes' sums.
template <class R>
inline constexpr bool kOneRow = R::kCollapses != 0 && !kHasOwn<R>;

// Kernels that are not log-concave (`kSeveralModes`): a cluster's integrand may have several modes whatever the distribution.
template <class R>
inline constexpr bool kSeveralModes = requires { R::kSeveralModes; };

}  // namespace clusterglm
