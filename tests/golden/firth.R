# Maximum penalised likelihood with Jeffreys' prior, by brglm2. Run in this folder: Rscript firth.R > firth.json
suppressMessages(library(brglm2))

endometrial <- read.csv("data/endometrial.csv")
endometrial$low <- 1 - endometrial$HG
endometrial$w <- 1 + seq_len(79) %% 3
endometrial$o <- endometrial$PI / 50
lizards <- read.csv("data/lizards.csv", stringsAsFactors = TRUE)
lizards$seen <- lizards$grahami + lizards$opalinus + 1
culcita <- read.csv("data/culcita.csv", stringsAsFactors = TRUE)
epil <- read.csv("data/epil.csv")

fit <- function(formula, family, data, ...)
  do.call(glm, list(formula, family = family, data = data, method = "brglmFit", type = "MPL_Jeffreys",
                    epsilon = 1e-13, maxit = 10000, ...))
models <- list(
  logit = fit(HG ~ NV + PI + EH, binomial("logit"), endometrial),
  probit = fit(HG ~ NV + PI + EH, binomial("probit"), endometrial),
  cloglog = fit(HG ~ NV + PI + EH, binomial("cloglog"), endometrial),
  poisson = fit(low ~ NV + PI + EH, poisson("log"), endometrial),
  weighted = fit(HG ~ NV + PI + EH, binomial("logit"), endometrial, weights = quote(w), offset = quote(o)),
  grouped = fit(cbind(grahami, opalinus) ~ height + diameter + light + time, binomial("probit"), lizards),
  blocks = fit(predation ~ factor(block) + ttt, binomial("logit"), culcita),
  blocks_probit = fit(predation ~ factor(block) + ttt, binomial("probit"), culcita),
  blocks_cloglog = fit(predation ~ factor(block) + ttt, binomial("cloglog"), culcita),
  subjects = fit(y ~ factor(subject) + V4, poisson("log"), epil),
  exposed = fit(opalinus ~ height + diameter + light, poisson("log"), lizards, offset = quote(log(seen)))
)
numbers <- function(x) paste0("{", paste0('"', names(x), '": ', sprintf("%.15g", x), collapse = ", "), "}")
line <- function(name) {
  m <- models[[name]]
  sprintf(' "%s": {"coef": %s,\n  "se": %s,\n  "loglik": %.15g}', name, numbers(coef(m)), numbers(sqrt(diag(vcov(m)))),
          as.numeric(logLik(m)))
}
cat("{\n", paste(sapply(names(models), line), collapse = ",\n"), "\n}\n", sep = "")
