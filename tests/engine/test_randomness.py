from ossia.engine.randomness import fresh_seed, uniform


def test_numbers_are_fixed_for_ever():
    """A seeded answer must not change with a release."""
    assert uniform(0, 0, 0) == 0.4622127874091503
    assert uniform(2**63 - 1, 127, 131_071) == 0.13712372580955812


def test_every_argument_counts():
    numbers = {uniform(seed, idx, pos) for seed in range(5) for idx in range(5) for pos in range(5)}
    assert len(numbers) == 125


def test_numbers_fill_the_unit_interval_evenly():
    counts = [0] * 10
    for position in range(10_000):
        counts[int(uniform(7, 0, position) * 10)] += 1
    # Chi-square, 99.9 % quantile for 9 degrees of freedom.
    assert sum((count - 1000) ** 2 / 1000 for count in counts) < 27.88


def test_fresh_seeds_differ_and_are_valid():
    seeds = {fresh_seed() for _ in range(50)}
    assert len(seeds) == 50
    assert all(0 <= seed < 2**63 for seed in seeds)
