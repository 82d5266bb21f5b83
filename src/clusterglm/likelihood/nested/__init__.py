"""The likelihood of normal effects of clusters and of the clusters nested in them.

The linear predictor of row j of child c of an upper cluster, a unit, is x_j'beta + offset_j + z1_j'L1 u + z2_j'L2 v_c,
with u (d1) and v_c (d2) standard normal, L1 and L2 lower triangular. theta = (beta, free entries of L1 row by row,
those of L2). Given u the children are independent, so the integral is one over u of a product of integrals over v_c:
sums over points of both levels (`nested.py`), in plain NumPy too (`reference.py`). Points are those of
`likelihood/vector/points.py`; `choice.py` finds some that are accurate enough, and says how accurate they are.

Two levels. A third would be one more of the same: its integral given those above, and moments by the law of total
covariance once more.
"""
