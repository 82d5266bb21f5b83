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

// Kernels with parameters of their own (`kOwn`): log P depends on a number w besides lambda. Derivatives in w, in lambda and w, and
// twice in w, at a node ...
template <class V>
struct OwnTerms {
    V g, Gg, gg;
};
template <class V>
struct NodeTermsWithOwn : NodeTerms<V> {
    OwnTerms<V> own;
};
struct StableTermsWithOwn : StableTerms {
    OwnTerms<double> own;
};

// ... and at the mode: of dl/dw once, twice and three times in lambda, of d2l/dw2 once and twice.
template <class V>
struct OwnAtMode {
    V Gg, Hg, Ig, Ggg, Hgg;
};

template <class R>
inline constexpr bool kHasOwn = requires { R::kOwn; };

}  // namespace clusterglm
