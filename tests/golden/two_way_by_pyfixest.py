"""Two-way fixed effects by pyfixest 0.60.0, for `two_way_by_pyfixest.json`: run with it installed.

Small-sample corrections are off, but for normal responses, whose residual variance is over the degrees of freedom.
"""

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd


def panel() -> pd.DataFrame:
    """60 persons in 3 to 9 of 9 years, without a random number."""
    person, year = (each.ravel() for each in np.meshgrid(np.arange(60), np.arange(9), indexing="ij"))
    u = [np.modf(np.abs(np.sin((person + 1) * a + (year + 1) * b) * 43758.5453))[0] for a, b in
         ((12.9898, 78.233), (39.3467, 11.135), (73.156, 52.235), (4.898, 7.23))]  # fmt: skip
    level, trend = np.sin(person * 1.7), 0.3 * np.cos(year * 2.3)
    data = pd.DataFrame({"person": person, "year": 2001 + year, "x": u[0] * 4 + level, "z": u[1] * 2 + trend})
    eta = 0.6 * (data.x - 2) - 0.8 * (data.z - 1) + level + trend
    data["binary"] = (u[2] < 1 / (1 + np.exp(-eta))).astype(int)
    data["count"] = np.floor(np.exp(0.7 * eta) * 3 * u[2]).astype(int)
    data["measure"] = eta + u[2] + u[3]
    return data[u[3] < 0.75].reset_index(drop=True)


def main() -> None:
    import pyfixest as pf

    warnings.simplefilter("ignore")
    data, out = panel(), {"pyfixest": pf.__version__}
    plain = pf.ssc(k_adj=False, G_adj=False)
    for response, fit in (
        (
            "binary",
            lambda **k: pf.feglm(
                "binary ~ x + z | person + year", data, family="logit", iwls_tol=1e-12, fixef_tol=1e-12, **k
            ),
        ),
        ("count", lambda **k: pf.fepois("count ~ x + z | person + year", data, iwls_tol=1e-12, fixef_tol=1e-12, **k)),
        ("measure", lambda **k: pf.feols("measure ~ x + z | person + year", data, fixef_tol=1e-12, **k)),
    ):
        iid = fit(vcov="iid") if response == "measure" else fit(vcov="iid", ssc=plain)
        known = {"coef": iid.coef().to_list(), "iid": iid.se().to_list()}
        for name in ("person", "year", "person + year"):
            known[name] = fit(vcov={"CRV1": name}, ssc=plain).se().to_list()
        out[response] = known
    Path(__file__).with_suffix(".json").write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
