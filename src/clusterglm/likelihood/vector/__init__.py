"""The likelihood of several normal effects of one grouping factor.

The linear predictor of row j of a cluster is x_j'beta + offset_j + z_j'L u, with u standard normal in d dimensions and
L lower triangular. theta = (beta, free entries of L row by row). The integral over u is a sum over points
(`points.py`) laid about each cluster's mode or posterior mean; the likelihood and its derivatives are moments over
them (`vector.py`), in plain NumPy too (`reference.py`). `choice.py` finds points that are accurate enough, and how
accurate they are.
"""
