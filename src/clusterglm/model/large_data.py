"""Where data count as large, and how much of them is then looked at, sampled, worked on at a time, or shown.

Each number stands here once, under a name that says what it is for. What a method needs whatever the size of the data
(tolerances, nodes, steps) stands beside the method.
"""

# Where a fit starts -------------------------------------------------------------------------------------------------

SAMPLE_OF_ROWS = 25_000
"""Rows from which a fit of many more starts; in all, where blocks show some of theirs."""
MANY_ROWS = 4 * SAMPLE_OF_ROWS
"""Rows from which a sample is worth its while."""
SAMPLE_WITHIN = 5_000
"""Clusters from which a fit within clusters starts, where it starts from a sample."""
MANY_CLUSTERS = 16_000
"""Clusters from which a sample of them stands in for the whole between two evaluations of a marginal likelihood."""
SAMPLED_ONE_IN = 16
"""One cluster in so many is in that sample, ..."""
FEWEST_SAMPLED, MOST_SAMPLED, MOST_SAMPLED_ROWS = 1_000, 60_000, 600_000
"""... but not fewer than the first (there is no sample then), nor more than the others, in clusters and in rows."""
SAMPLES_FOR_EFFECTS = (500, 2_000)
"""Fewest and most clusters, one in twenty, from which a fit of several random effects to four times as many starts."""
NORMAL_CLUSTERS_AT_ONCE = 50_000
"""Clusters of normal responses with few effects up to which a search is done before a sample has been looked at."""
MANY_FOR_POINTS = 500
"""Clusters from which the errors of integrals over several effects are judged together."""
SAMPLE_FOR_RULES = 2_000
"""Clusters on which quadrature rules are tried before one is chosen for many."""
FEW_CLUSTERS = 2 * SAMPLE_FOR_RULES
"""Clusters up to which each gets a quadrature rule of its own at once."""

# A first look -------------------------------------------------------------------------------------------------------

ROWS_FOR_UNITS = 4_096
"""Rows from which the optimiser's centres and scales of columns are taken: they only need to be roughly right."""
ROWS_FOR_FORMULAS = 20_000
"""Rows from which a formula's terms are learned."""
ROWS_SEEN_QUICKLY = 500
"""Rows of which every way to find the range of columns is quick."""
ROWS_GLANCED_AT = (2_048, 32_768)
"""Rows that show whether columns depend on each other, the more only if the fewer leave a doubt."""
ROWS_OF_A_BLOCK = 2_000
"""Rows that a block shows when separation is suspected."""
CLUSTERS_LOOKED_AT = 1_000
"""Clusters that are looked at before all are, for one whose responses vary."""
FEWEST_MERGED = 5_000
"""Rows below which a fit takes hardly longer than merging identical ones."""
ROWS_FOR_MERGING = 50_000
"""Rows that show whether merging is worth its while."""
SAMPLES_FOR_CHECKS = (500, 4_000)
"""Clusters that a quick check of integrals takes, the more only where the fewer show anything."""

# At a time ----------------------------------------------------------------------------------------------------------

ROWS_IN_CACHE = 8_192
"""Rows at a time: no temporary as large as X, and none that leaves the cache."""
ROWS_AT_A_TIME = 65_536
"""Rows at a time: no temporary as large as X."""
READ_AT_A_TIME = 131_072
"""Rows, or labels of clusters, that are read at a time where clusters do not matter."""
NUMBERS_AT_A_TIME = 262_144
"""Numbers in a temporary of rows by nodes, or clusters by points."""
NUMBERS_OF_COUNTS, NUMBERS_OF_MIXTURES = 2_000_000, 4_000_000
"""Numbers in a temporary where distributions of clusters' totals are computed, and likelihoods at mass points."""
ROWS_MADE_UP = 1_048_576
"""Rows at a time of clusters that are made up to ask what would be."""
MEMORY_OF_STREAMS = 512 * 2**20
"""Bytes that a fit of files may use, by default."""
MOST_REPEATS = 100_000_000
"""Rows that weights may stand for where each is looked at."""

# Reports and plots --------------------------------------------------------------------------------------------------

REPORTED_IN_FULL = 5_000
"""Rows up to which a report computes everything by default."""
MOST_ROWS_FOR_CHOICE = 200_000
"""Rows above which a report leaves out other distributions by default."""
MOST_ELEMENTS_AVERAGED = 5_000_000
"""Elements of a design matrix above which a report leaves out averages over all rows."""
CLUSTERS_DRAWN, POINTS_DRAWN = 2_000, 3_000
"""Clusters and points that plots draw one by one; of more, as many at even distances."""
