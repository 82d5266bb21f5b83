# Makes predictions.json; run it in this folder.
suppressMessages({library(lme4); library(glmmTMB); library(jsonlite)})
some <- function(x) head(x, 240)  # rows of the data
num <- function(x) unname(as.numeric(x))
one <- function(name, d, f, cluster, family) {
  fit <- glmer(f, d, family = family, nAGQ = 25,
               control = glmerControl(optimizer = "bobyqa", tolPwrss = 1e-12, optCtrl = list(rhoend = 1e-9, maxfun = 1e5)))
  tmb <- glmmTMB(f, d, family = family, control = glmmTMBControl(optCtrl = list(rel.tol = 1e-14, iter.max = 1e4, eval.max = 1e4)))
  p <- predict(tmb, se.fit = TRUE, type = "link")
  v <- num(VarCorr(fit)[[1]])
  lat <- if (family$link == "logit") pi^2/3 else if (family$link == "probit") 1 else pi^2/6
  list(data = name, formula = paste(deparse(f), collapse = ""), link = family$link, family = family$family,
       lme4 = list(coef = num(fixef(fit)), sd = sqrt(v), conditional = some(num(predict(fit, type = "response"))),
                   typical = some(num(predict(fit, type = "response", re.form = NA))), icc = v / (v + lat)),
       glmmTMB = list(coef = num(fixef(tmb)$cond), sd = sqrt(num(VarCorr(tmb)$cond[[1]])), link = some(num(p$fit)), se = some(num(p$se.fit))))
}
path <- function(f) file.path("data", f)
ba <- read.csv(path("bacteria.csv")); ba$late <- as.numeric(ba$week > 2); ba$trt <- relevel(factor(ba$trt), "placebo"); ba$yy <- as.numeric(ba$y == "y")
oh <- read.csv(path("ohio.csv"))
cb <- read.csv(path("cbpp_grouped.csv")); cb$period <- factor(cb$period)
ep <- read.csv(path("epil.csv")); ep$V4 <- as.numeric(ep$period == 4)
out <- list(
  one("bacteria", ba, yy ~ trt + late + (1 | ID), "ID", binomial("logit")),
  one("ohio", oh, resp ~ age * smoke + (1 | id), "id", binomial("probit")),
  one("cbpp", cb, cbind(incidence, size - incidence) ~ period + (1 | herd), "herd", binomial("logit")),
  one("epil", ep, y ~ trt + lbase + V4 + (1 | subject), "subject", poisson("log")))
write(toJSON(out, digits = NA, pretty = FALSE, auto_unbox = TRUE), "predictions.json")
