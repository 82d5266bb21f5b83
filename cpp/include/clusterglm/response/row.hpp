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

}  // namespace clusterglm
