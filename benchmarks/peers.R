# R's packages on the benchmark data, one fit each. From the repository:
#   python -c "import sys; sys.path.insert(0, 'benchmarks'); import simulate; simulate.logit(10000).to_csv('build/logit.csv', index=False)"
#   Rscript benchmarks/peers.R build/logit.csv
d <- read.csv(commandArgs(trailingOnly = TRUE)[1])
f <- y ~ x1 + x2 + x3 + x4 + x5
g <- update(f, . ~ . + (1 | id))
timed <- function(name, expr) {
  t <- system.time(fit <- try(eval(expr), silent = TRUE))
  cat(sprintf("%-28s %9.2f s CPU %9.2f s elapsed%s\n", name, sum(t[1:2]), t[3], if (inherits(fit, "try-error")) "  (failed)" else ""))
}
here <- function(package) requireNamespace(package, quietly = TRUE)
if (here("glmmML")) timed("glmmML, 8 nodes", quote(glmmML::glmmML(f, data = d, cluster = id, method = "ghq", n.points = 8)))
if (here("glmmML")) timed("glmmML, Laplace", quote(glmmML::glmmML(f, data = d, cluster = id)))
if (here("lme4")) timed("lme4, 8 nodes", quote(lme4::glmer(g, data = d, family = binomial, nAGQ = 8)))
if (here("lme4")) timed("lme4, Laplace", quote(lme4::glmer(g, data = d, family = binomial)))
if (here("glmmTMB")) timed("glmmTMB, Laplace", quote(glmmTMB::glmmTMB(g, data = d, family = binomial)))
if (here("GLMMadaptive")) timed("GLMMadaptive, 11 nodes", quote(GLMMadaptive::mixed_model(f, random = ~ 1 | id, data = d, family = binomial())))
