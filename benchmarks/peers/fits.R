# R's packages, where R has them: Rscript fits.R DATA.csv TURNS random|fixed
# For each fit a line of JSON: name, package, version, seconds of each turn, estimates, standard errors, sigma.
# The first turn counts only where there is no other; once a fit has taken 10 seconds it is not repeated.
arguments <- commandArgs(trailingOnly = TRUE)
d <- read.csv(arguments[1])
turns <- as.integer(arguments[2])
f <- y ~ x1 + x2 + x3 + x4 + x5
g <- update(f, . ~ . + (1 | id))

array <- function(x) sprintf("[%s]", paste(ifelse(is.finite(x), sprintf("%.10g", x), "null"), collapse = ", "))
found <- NULL
elapsed <- function(fit) system.time(suppressMessages(suppressWarnings(fit())))[["elapsed"]]

# fit: the call. read: its estimates, standard errors and sigma, as a list.
peer <- function(name, package, fit, read) {
  head <- sprintf('{"name": "%s", "package": "%s"', name, package)
  if (!requireNamespace(package, quietly = TRUE)) return(cat(head, "}\n", sep = ""))
  took <- elapsed(function() found <<- try(fit(), silent = TRUE))
  if (inherits(found, "try-error")) {
    why <- gsub('[\\\\"\n]', " ", conditionMessage(attr(found, "condition")))
    return(cat(head, sprintf(', "failed": "%s"}\n', why), sep = ""))
  }
  seconds <- c()
  while (length(seconds) < turns && took + sum(seconds) < 10) seconds <- c(seconds, elapsed(fit))
  if (length(seconds) == 0) seconds <- took
  answer <- read(found)
  cat(head, sprintf(', "version": "%s", "seconds": %s, "estimates": %s, "se": %s, "sigma": %s}\n',
    packageVersion(package), array(seconds), array(answer[[1]]), array(answer[[2]]),
    if (length(answer) < 3) "null" else sprintf("%.10g", answer[[3]])), sep = "")
}

lme4 <- function(nodes) function() lme4::glmer(g, data = d, family = binomial, nAGQ = nodes)
of_lme4 <- function(fit) {
  list(lme4::fixef(fit), sqrt(diag(as.matrix(vcov(fit)))), sqrt(as.numeric(lme4::VarCorr(fit)$id)))
}
of_glmmML <- function(fit) list(fit$coefficients, fit$coef.sd, fit$sigma)

if (arguments[3] == "random") {
  peer("lme4, Laplace", "lme4", lme4(1), of_lme4)
  peer("lme4, 8 nodes", "lme4", lme4(8), of_lme4)
  peer("glmmTMB, Laplace", "glmmTMB", function() glmmTMB::glmmTMB(g, data = d, family = binomial), function(fit) {
    table <- summary(fit)$coefficients$cond
    list(table[, 1], table[, 2], sqrt(as.numeric(glmmTMB::VarCorr(fit)$cond$id)))
  })
  peer("glmmML, Laplace", "glmmML", function() glmmML::glmmML(f, data = d, cluster = id), of_glmmML)
  peer("glmmML, 8 nodes", "glmmML", function() {
    glmmML::glmmML(f, data = d, cluster = id, method = "ghq", n.points = 8)
  }, of_glmmML)
  peer("GLMMadaptive, 11 nodes", "GLMMadaptive", function() {
    GLMMadaptive::mixed_model(f, random = ~ 1 | id, data = d, family = binomial())
  }, function(fit) {
    k <- seq_along(GLMMadaptive::fixef(fit))
    list(GLMMadaptive::fixef(fit), sqrt(diag(vcov(fit)))[k], sqrt(as.numeric(fit$D)))
  })
} else {
  peer("fixest, feglm", "fixest", function() {
    fixest::setFixest_nthreads(1)
    fixest::feglm(y ~ x1 + x2 + x3 + x4 + x5 | id, d, family = "logit", vcov = "iid",
      ssc = fixest::ssc(adj = FALSE, cluster.adj = FALSE))
  }, function(fit) list(coef(fit), fixest::se(fit)))
  peer("glmmML, glmmboot", "glmmML", function() glmmML::glmmboot(f, data = d, cluster = id), function(fit) {
    list(fit$coefficients, fit$sd)
  })
}
