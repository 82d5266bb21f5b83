# Fits by glm where covariates separate the responses, followed until the deviance stands still, and likelihood-ratio
# tests of one term each. Run in this folder: Rscript separation.R > separation.json
endometrial <- read.csv("data/endometrial.csv")
endometrial$low <- 1 - endometrial$HG
endometrial$w <- 1 + seq_len(79) %% 3
culcita <- read.csv("data/culcita.csv", stringsAsFactors = TRUE)
late <- subset(culcita, block > 4)
late$ttt <- relevel(late$ttt, "none")
late$few <- as.numeric(late$block < 7)
epil <- read.csv("data/epil.csv")
epil$none <- as.numeric(epil$y == 0 & epil$period == 4)

cases <- list(
  logit = list(HG ~ NV + PI + EH, HG ~ PI + EH, binomial("logit"), endometrial),
  probit = list(HG ~ NV + PI + EH, HG ~ PI + EH, binomial("probit"), endometrial),
  cloglog = list(HG ~ NV + PI + EH, HG ~ PI + EH, binomial("cloglog"), endometrial),
  interaction = list(HG ~ NV * PI + EH, HG ~ PI + EH, binomial("logit"), endometrial),
  weighted = list(HG ~ NV + PI + EH, HG ~ PI + EH, binomial("logit"), endometrial, endometrial$w),
  zeros = list(y ~ none + trt + lbase, y ~ trt + lbase, poisson("log"), epil),
  levels = list(predation ~ ttt + few, predation ~ few, binomial("logit"), subset(late, !(block == 10 & ttt == "none"))),
  complete = list(predation ~ ttt, predation ~ 1, binomial("logit"), subset(culcita, block == 5 & ttt != "shrimp"))
)
line <- function(name) {
  case <- cases[[name]]
  control <- glm.control(epsilon = 1e-15, maxit = 60)
  fit <- function(formula) {
    arguments <- list(formula, family = case[[3]], data = case[[4]], control = control)
    if (length(case) > 4) arguments$weights <- case[[5]]
    suppressWarnings(do.call(glm, arguments))
  }
  large <- fit(case[[1]])
  small <- fit(case[[2]])
  test <- anova(small, large, test = "LRT")
  sprintf(' "%s": {"loglik": %.12g, "smaller": %.12g, "statistic": %.12g, "df": %d, "pvalue": %.12g}', name,
          as.numeric(logLik(large)), as.numeric(logLik(small)), test$Deviance[2], as.integer(test$Df[2]),
          test$`Pr(>Chi)`[2])
}
cat("{\n", paste(sapply(names(cases), line), collapse = ",\n"), "\n}\n", sep = "")
