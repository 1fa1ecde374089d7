"""The exact permutation test."""

import numpy as np

from paper_tables.verdicts.significance import permutation_test


def test_the_permutation_test_counts_every_way_to_deal_the_values() -> None:
    apart = permutation_test([1.0, 2.0, 3.0, 4.0], [11.0, 12.0, 13.0, 14.0])
    assert apart is not None
    assert (apart.p, apart.least) == (2 / 70, 2 / 70)
    assert apart.words == "differ, p = 0.029"
    mixed = permutation_test([1.0, 4.0], [2.0, 3.0])  # equal means: every one of the 6 ways is as far apart
    assert mixed is not None
    assert mixed.p == 1.0
    assert mixed.words == "too few seeds: p = 1.000, and never below 0.333"


def test_one_training_on_a_side_is_no_test() -> None:
    assert permutation_test([1.0], [2.0, 3.0]) is None


def test_many_seeds_are_drawn_the_same_way_each_time() -> None:
    random = np.random.default_rng(3)
    a, b = random.normal(0, 1, 14).tolist(), random.normal(0.2, 1, 14).tolist()
    first, again = permutation_test(a, b), permutation_test(a, b)
    assert first == again
    assert first is not None
    assert not first.exact
    assert 0.05 < first.p < 1
