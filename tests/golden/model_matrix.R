# Design matrices of R's own model.matrix, for tests/data/test_model_matrix.py: Rscript model_matrix.R > model_matrix.json
# Base R and its package splines, nothing else. The data are written out, so that no generator of random numbers matters.
library(splines)
d <- data.frame(
  x = c(-1.2, 0.3, 2.5, 0.9, -0.4, 1.7, 3.1, -2.2, 0.05, 1.1, 2.9, -0.7),
  z = c(4, 1, 3, 2, 8, 5, 7, 6, 9, 12, 10, 11),
  n = c(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12),
  w = c(0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5),
  flag = c(TRUE, FALSE, TRUE, TRUE, FALSE, TRUE, FALSE, TRUE, TRUE, FALSE, FALSE, TRUE),
  a = factor(c("p", "q", "r", "p", "q", "r", "p", "q", "r", "q", "p", "r")),
  b = factor(c("u", "v", "v", "u", "u", "v", "u", "v", "u", "v", "v", "u")),
  k = c(1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4),
  o = factor(c("low", "mid", "high", "low", "mid", "high", "low", "mid", "high", "mid", "low", "high"),
             levels = c("low", "mid", "high")),
  stringsAsFactors = FALSE
)
formulas <- c(
  "~ x + a", "~ 0 + a", "~ a - 1", "~ x * a", "~ a * b", "~ a + a:b", "~ a / b", "~ (a + b + x)^2", "~ a * b * x",
  "~ a * b - a:b", "~ x + x:a", "~ 0 + x + a", "~ o * x", "~ factor(k)", "~ as.factor(k) + x", "~ relevel(a, ref = 'q')",
  "~ relevel(a, 'r') * x", "~ C(a, contr.sum)", "~ C(factor(k), contr.helmert)", "~ C(factor(k), contr.poly)",
  "~ C(a, contr.treatment(3, base = 2))", "~ C(a, contr.SAS) + b", "~ C(a, contr.sum) * b", "~ I(x^2) + I(2^-w)",
  "~ I(-x^2)", "~ I(n %% 4) + I(n %/% 4)", "~ I(2 * n %% 4)", "~ I(-n %/% 4)", "~ I(-7 %% 3 + x)",
  "~ log(n) + log1p(n) + sqrt(n) + exp(x)", "~ ifelse(x > 0, x, 0)", "~ pmin(x, 1) + pmax(x, n, 3)", "~ poly(x, 2)",
  "~ poly(z, 3)", "~ bs(x, df = 4)", "~ bs(x, df = 5, degree = 2)", "~ bs(x, knots = c(0, 1))",
  "~ bs(x, df = 6, intercept = TRUE) - 1", "~ bs(x, df = 4, Boundary.knots = c(-4, 4))", "~ ns(x, df = 3)",
  "~ ns(x, knots = c(0, 1.5))", "~ ns(z, df = 4) * b", "~ ns(x, df = 2, Boundary.knots = c(-1, 2))",
  "~ ns(x, df = 4, intercept = TRUE) - 1", "~ cut(x, c(-3, 0, 1, 4))", "~ cut(x, 3)", "~ cut(n, c(0, 4, 8, 12), right = FALSE)",
  "~ cut(n, c(1, 4, 8, 12), include.lowest = TRUE)", "~ scale(x)", "~ a:x + b:x", "~ x:z", "~ x %in% z",
  "~ I(w > 2 & flag) + x", "~ I(w > 2 | flag & x > 0)", "~ I(!flag & w == 1)", "~ I(a == 'p') + I(a != 'q')",
  "~ I(a %in% c('p', 'q'))", "~ I(is.na(x))", "~ I(x - mean(x)) + I((x - mean(x)) / sd(x))", "~ I(x / max(x))",
  "~ round(x) + floor(x) + ceiling(x)", "~ x + I(x * z) + I(x / z)", "~ (x + z)^2", "~ x + z - x", "~ . - a - b - o"
)
number <- function(v) paste0("[", paste(sprintf("%.17g", v), collapse = ", "), "]")
text <- function(v) paste0("[", paste(sprintf("\"%s\"", gsub("\"", "\\\\\"", v)), collapse = ", "), "]")
entries <- sapply(formulas, function(f) {
  X <- model.matrix(as.formula(f), d)
  rows <- apply(X, 1, number)
  sprintf(" {\"formula\": \"%s\",\n  \"names\": %s,\n  \"X\": [\n   %s]}", gsub("\"", "\\\\\"", f), text(colnames(X)),
          paste(rows, collapse = ",\n   "))
})
cat(sprintf("{\"by\": \"%s\",\n\"matrices\": [\n%s\n]}\n", R.version.string, paste(entries, collapse = ",\n")))
