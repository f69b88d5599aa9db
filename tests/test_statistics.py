"""Statistics of paired trainings: against textbooks, by properties, and on simulated data with a known truth."""

import json
import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadseg.errors import ConfigError, RunError
from roadseg.scores import Scores
from roadseg.studies.records import METRICS, ImageRecord, RunRecord, pooled
from roadseg.studies.statistics import (
    Counts,
    PairedT,
    bootstrap,
    corrected_t,
    holm,
    judge,
    mean_sd,
    mean_sizes,
    more_runs,
    paired_differences,
    paired_runs,
    seed_sd,
)

finite = st.floats(-1, 1).map(lambda x: round(x, 4))
several = st.lists(finite, min_size=2, max_size=30)


def image(rng: np.random.Generator, stem: str = "a", classes: int = 2, pixels: int = 400) -> ImageRecord:
    """Random counts, some of them 0."""
    share = rng.dirichlet(np.full(classes * classes, 0.5))
    matrix = rng.multinomial(pixels, share).reshape(classes, classes)
    patches = rng.multinomial(9, rng.dirichlet(np.full(4, 0.5))).reshape(2, 2)
    return ImageRecord(f"hash of {stem}", matrix.tolist(), patches.tolist())


def run(fold: int = 0, seed: int = 0, variant: str = "baseline", *, images: int = 3, **more: object) -> RunRecord:
    """A record with random counts; fold k holds out images k0, k1, ..."""
    classes = int(more.pop("classes", 2))
    rng = np.random.default_rng([fold, seed, *variant.encode()])
    stems = [f"{fold}{k}" for k in range(images)]
    record = RunRecord(
        variant=variant,
        fold=fold,
        folds=5,
        fold_seed=43,
        seed=seed,
        asked="0" * 16,
        n_train=4 * images,
        epochs=1,
        steps=1,
        parameters=1,
        training_s=1.0,
        total_s=1.0,
        image_s=0.1,
        machine={},
        versions={},
        images={stem: image(rng, stem, classes) for stem in stems},
    )
    return msgspec.structs.replace(record, **more)


def runs(variant: str = "baseline", folds: int = 5, seeds: int = 2, **more: object) -> list[RunRecord]:
    return [run(fold, seed, variant, **more) for fold in range(folds) for seed in range(seeds)]


def with_score(record: RunRecord, accuracy: float) -> RunRecord:
    """The same run with this patch accuracy on each image, of 1000 patches."""
    right = round(1000 * accuracy)
    counts = [[right, 1000 - right], [0, 0]]
    images = {stem: ImageRecord(i.hash, i.pixels, counts) for stem, i in record.images.items()}
    return msgspec.structs.replace(record, images=images)


# === The corrected t ===


def test_corrected_t_agrees_with_a_calculation_by_hand() -> None:
    # s^2 = 5.2e-4 / 4; s^2 (1/5 + 20/80) = 5.85e-5; 2.776445 is the table's t(0.975, 4)
    t = corrected_t([0.02, 0.01, 0.03, 0.02, 0.00], n_train=80, n_test=20)
    error = math.sqrt(5.85e-5)
    assert (t.mean, t.sd, t.df) == (pytest.approx(0.016), pytest.approx(math.sqrt(1.3e-4)), 4)
    assert (t.low, t.high) == (pytest.approx(0.016 - 2.776445 * error), pytest.approx(0.016 + 2.776445 * error))
    u = 0.016 / error
    root = 1 + u * u / 4  # Student's distribution with 4 degrees of freedom has a closed form
    assert t.p == pytest.approx(2 * (0.5 - 3 / 8 * u / math.sqrt(root) * (1 - u * u / (12 * root))), rel=1e-6)


def test_without_overlap_it_is_the_textbook_t() -> None:
    # Student 1908, Cushny and Peebles' sleep data: 10 paired differences, t = 4.0621, p = 0.00283
    hours = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
    t = corrected_t(hours, n_train=1e12, n_test=1)
    assert t.mean == pytest.approx(1.58) and t.sd == pytest.approx(1.229995, abs=1e-6)
    assert t.p == pytest.approx(0.002833, abs=1e-6)
    assert (t.low, t.high) == (pytest.approx(0.7001142, abs=1e-6), pytest.approx(2.4598858, abs=1e-6))


def test_the_best_published_difference_on_the_reference_folds_is_not_beyond_doubt() -> None:
    # an ImageNet encoder against a plain U-Net: +.0238 with sd .0186 over 5 folds; the usual t says p = .046
    folds = 0.0238 + 0.0186 * np.array([-1, -1, 0, 1, 1])
    t = corrected_t(folds.tolist(), 80, 20)
    assert t.sd == pytest.approx(0.0186) and t.p == pytest.approx(0.129, abs=0.001) and t.low < 0
    assert corrected_t(folds.tolist(), 1e12, 1).p == pytest.approx(0.046, abs=0.001)


@pytest.mark.parametrize("differences", [[0.03], [0.0], [0.01, 0.01], [0.1 + 0.2, 0.3, 0.3], [0.0] * 5])
def test_without_a_spread_it_claims_nothing(differences: list[float]) -> None:
    t = corrected_t(differences, 80, 20)
    assert (t.low, t.high, t.p) == (-math.inf, math.inf, 1.0)
    assert judge(t, t.p) == "cannot tell"
    assert t.sd is None if len(differences) == 1 else t.sd == 0
    kept = t.to_dict()
    assert kept["low"] is None and kept["high"] is None and json.dumps(kept, allow_nan=False)


@given(several)
def test_swapping_the_sides_negates_the_t(differences: list[float]) -> None:
    t = corrected_t(differences, 80, 20)
    other = corrected_t([-d for d in differences], 80, 20)
    assert (other.mean, other.low, other.high) == pytest.approx((-t.mean, -t.high, -t.low))
    assert other.p == pytest.approx(t.p) and 0 <= t.p <= 1 and t.low <= t.mean <= t.high
    assert t.sd == 0 or (t.p < 0.05) == (t.low > 0 or t.high < 0)


@pytest.mark.parametrize("differences", [[], [0.1, math.nan], [math.inf]])
def test_what_is_no_number_is_refused(differences: list[float]) -> None:
    with pytest.raises(ValueError, match="finite numbers"):
        corrected_t(differences, 80, 20)


@pytest.mark.parametrize(("train", "test"), [(0, 20), (80, 0), (-1, 1), (math.nan, 1)])
def test_folds_without_images_are_refused(train: float, test: float) -> None:
    with pytest.raises(ValueError, match="images above 0"):
        corrected_t([0.1, 0.2], train, test)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0, math.nan])
def test_a_confidence_in_per_cent_is_refused(confidence: float) -> None:
    with pytest.raises(ConfigError, match=r"0\.95"):
        corrected_t([0.1, 0.2], 80, 20, confidence)
    counts = Counts.of([run()])
    with pytest.raises(ConfigError, match=r"0\.95"):
        bootstrap(counts, counts, "pixel_f1", confidence=confidence)


def test_mean_and_sd_of_one_value_and_of_several() -> None:
    assert mean_sd([0.5]) == (0.5, None)
    assert mean_sd([2, 4, 4, 4, 5, 5, 7, 9]) == (5, pytest.approx(math.sqrt(32 / 7)))


# === Several factors ===


def test_holm_agrees_with_the_worked_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.01, 0.04], family=12) == pytest.approx([0.12, 0.44])


@given(st.lists(st.floats(0, 1), max_size=15), st.integers(0, 5))
def test_holm_only_raises_p_and_keeps_their_order(p_values: list[float], further: int) -> None:
    adjusted = holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
    assert [q for _, q in sorted(zip(p_values, adjusted, strict=True))] == sorted(adjusted)
    if p_values:
        assert min(adjusted) == pytest.approx(min(1.0, len(p_values) * min(p_values)))
    # factors that were looked at and are not given are the same as further ones with p = 1
    more = len(p_values) + further
    assert holm(p_values, family=more) == holm([*p_values, *[1.0] * further])[: len(p_values)]


def test_holm_refuses_what_is_no_p() -> None:
    for wrong in ([0.1, 1.2], [-0.1], [math.nan]):
        with pytest.raises(ValueError, match="p values"):
            holm(wrong)
    with pytest.raises(ValueError, match="family of 1"):
        holm([0.1, 0.2], family=1)


def test_the_verdict_follows_the_sign_and_the_adjusted_p() -> None:
    better = corrected_t([0.02, 0.021, 0.019, 0.02, 0.022], 80, 20)
    worse = corrected_t([-0.02, -0.021, -0.019, -0.02, -0.022], 80, 20)
    assert better.p < 0.001
    assert (judge(better, better.p), judge(worse, worse.p)) == ("helps", "hurts")
    assert judge(better, 0.06) == "cannot tell" and judge(better, 0.06, alpha=0.1) == "helps"


# === Pairing runs ===


def test_a_fold_differs_by_the_mean_over_the_seeds_both_have() -> None:
    base = [with_score(run(fold, seed), 0.5) for fold in range(3) for seed in range(2)]
    scores = {(0, 0): 0.6, (0, 1): 0.7, (1, 0): 0.4, (2, 5): 0.9}  # fold 1 lacks a seed, fold 2 has another one
    ours = [with_score(run(*place, "wide"), score) for place, score in scores.items()]
    found = paired_differences(ours, base, "patch_accuracy")
    assert found == {0: pytest.approx(0.15), 1: pytest.approx(-0.1)}
    assert seed_sd(ours, base, "patch_accuracy") == pytest.approx(math.sqrt(0.005))  # of .1 and .2, fold 0 alone
    assert seed_sd(ours[2:], base, "patch_accuracy") is None
    assert mean_sizes(ours) == (12, 3)


@given(st.permutations(range(10)), st.sampled_from(METRICS))
@settings(max_examples=20)
def test_the_order_of_the_runs_does_not_matter_and_sides_swap(order: list[int], metric: str) -> None:
    ours, base = runs("wide"), runs()
    found = paired_differences([ours[i] for i in order], base, metric)
    assert list(found) == [0, 1, 2, 3, 4]
    assert found == paired_differences(ours, base, metric)
    swapped = paired_differences(base, ours, metric)
    assert {fold: -value for fold, value in swapped.items()} == pytest.approx(found)
    assert seed_sd(ours, base, metric) == pytest.approx(seed_sd(base, ours, metric))


def test_further_splits_of_the_same_images_are_further_folds() -> None:
    ours, base = runs("wide", seeds=1), runs(seeds=1)
    again = [msgspec.structs.replace(r, fold_seed=44) for r in (*runs("wide", seeds=1), *runs(seeds=1))]
    assert list(paired_differences([*ours, *again[:5]], [*base, *again[5:]], "pixel_f1")) == list(range(10))
    assert Counts.of([*ours, *again[:5]]).pixels.shape == (2, 15, 2, 2)


def test_runs_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(RunError, match=r"'wide' and 'baseline' have no fold and seed in common: fold 0 .*fold 1"):
        paired_differences([run(0, 0, "wide")], [run(1, 0)], "pixel_f1")
    with pytest.raises(RunError, match="no run"):
        paired_differences([], [run()], "pixel_f1")
    with pytest.raises(RunError, match="two runs of 'baseline' on fold 0"):
        paired_runs([run(0, 0, "wide")], [run(), run()])
    with pytest.raises(RunError, match="folds"):
        paired_runs([run(0, 0, "wide", folds=4)], [run()])
    changed = run(0, 0, "wide")
    changed.images["01"] = msgspec.structs.replace(changed.images["01"], hash="another")
    with pytest.raises(RunError, match="'01' was another one"):
        paired_differences([changed], [run()], "pixel_f1")
    with pytest.raises(RunError, match="only one of them held out '03'"):
        paired_differences([run(0, 0, "wide", images=4)], [run()], "pixel_f1")
    with pytest.raises(ConfigError, match=r"'f1'.*pixel_f1"):
        paired_differences([run(0, 0, "wide")], [run()], "f1")
    with pytest.raises(ConfigError, match=r"of \d classes"):
        paired_differences([run(0, 0, "wide", classes=3)], [run(classes=3)], "patch_f1")


# === Bootstrap ===


@given(st.integers(2, 4), st.integers(1, 6), st.integers(0, 10**6), st.sampled_from(METRICS), st.booleans())
def test_pooled_scores_are_those_of_the_package(classes: int, images: int, seed: int, metric: str, few: bool) -> None:
    rng = np.random.default_rng(seed)
    found = {f"{k}": image(rng, f"{k}", classes, pixels=2 if few else 500) for k in range(images)}
    record = msgspec.structs.replace(run(), images=found)
    expected = pooled(found.values()).to_dict()[metric]
    if expected is None:
        with pytest.raises(ConfigError, match=r"of \d classes"):
            Counts.of([record]).score(metric)
    else:
        assert Counts.of([record]).score(metric) == pytest.approx(expected, rel=0, abs=1e-15)


def test_a_score_with_nothing_to_count_is_that_of_the_package() -> None:
    empty = ImageRecord("e", [[0, 0], [0, 0]], [[9, 0], [0, 0]])
    counts = Counts.of([msgspec.structs.replace(run(), images={"e": empty})])
    expected = Scores(np.zeros((2, 2), np.int64), np.array(empty.patches)).to_dict()
    assert [counts.score(metric) for metric in METRICS] == [expected[metric] for metric in METRICS]


def test_seeds_are_pooled_over_folds_and_then_averaged() -> None:
    found = runs()
    counts = Counts.of(found[::-1])
    assert counts.stems == tuple(sorted(counts.stems)) and counts.pixels.shape == (2, 15, 2, 2) and counts.seen.all()
    by_seed = [[i for r in found if r.seed == seed for i in r.images.values()] for seed in (0, 1)]
    expected = np.mean([pooled(images).to_dict()["pixel_iou"] for images in by_seed])
    assert counts.score("pixel_iou") == pytest.approx(float(expected))


def test_a_seed_that_lacks_folds_counts_by_its_images() -> None:
    found = [with_score(run(0, 0), 0.9), with_score(run(1, 0), 0.9), with_score(run(0, 1), 0.6)]
    counts = Counts.of(found)
    assert counts.seen.sum() == 9
    assert counts.score("patch_accuracy") == pytest.approx((6 * 0.9 + 3 * 0.6) / 9)


def images_of_accuracy(right: np.ndarray, of: int = 100) -> Counts:
    """One seed; patches of which so many are right, pixels alike."""
    matrix = np.zeros((1, len(right), 2, 2), np.int64)
    matrix[0, :, 0, 0], matrix[0, :, 0, 1] = right, of - right
    return Counts(matrix, matrix, tuple(f"{k:04d}" for k in range(len(right))), np.ones((1, len(right)), bool))


def test_of_a_mean_the_bootstrap_interval_is_the_textbook_one() -> None:
    rng = np.random.default_rng(1)
    right, base = rng.integers(50, 101, 150), rng.integers(40, 91, 150)
    interval = bootstrap(images_of_accuracy(right), images_of_accuracy(base), "patch_accuracy")
    t = corrected_t(((right - base) / 100).tolist(), 1e12, 1)  # images are independent: the usual t
    half = (t.high - t.low) / 2
    assert interval.low == pytest.approx(t.low, abs=0.04 * half)
    assert interval.high == pytest.approx(t.high, abs=0.04 * half)


@given(st.sampled_from(METRICS), st.integers(0, 2**32), st.integers(2, 6))
@settings(max_examples=25)
def test_bootstrap_swaps_and_repeats(metric: str, seed: int, images: int) -> None:
    ours, base = Counts.of([run(variant="wide", images=images)]), Counts.of([run(images=images)])
    there = bootstrap(ours, base, metric, resamples=1100, seed=seed)
    back = bootstrap(base, ours, metric, resamples=1100, seed=seed)
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low))
    assert there == bootstrap(ours, base, metric, resamples=1100, seed=seed)
    same = bootstrap(base, base, metric, resamples=50)
    assert (same.low, same.high) == (0, 0)


def test_bootstrap_draws_the_seeds_of_an_image_together() -> None:
    base = Counts.of(runs())
    again = [msgspec.structs.replace(r, seed=r.seed + 2) for r in runs()]
    ours = runs("wide")
    twice = Counts.of([*ours, *[msgspec.structs.replace(r, seed=r.seed + 2) for r in ours]])
    once = bootstrap(Counts.of(ours), base, "pixel_f1", resamples=500)
    doubled = bootstrap(twice, Counts.of([*runs(), *again]), "pixel_f1", resamples=500)
    assert (doubled.low, doubled.high) == pytest.approx((once.low, once.high))  # copies of a seed are no evidence


def test_bootstrap_refuses_sides_that_are_not_paired() -> None:
    one, all_images = Counts.of([run()]), Counts.of(runs(seeds=1))
    with pytest.raises(RunError, match="other images or seeds"):
        bootstrap(one, all_images, "pixel_f1")
    with pytest.raises(ConfigError, match="'dice'"):
        bootstrap(one, one, "dice")
    with pytest.raises(RunError, match="two runs held out '00'"):
        Counts.of([run(), msgspec.structs.replace(run(1), images=run().images)])
    other = {"00": image(np.random.default_rng(0), "else")}
    with pytest.raises(RunError, match="'00' is not the same"):
        Counts.of([run(), msgspec.structs.replace(run(0, 1), images=other)])
    with pytest.raises(RunError, match="no finished run"):
        Counts.of([])
    single = Counts.of([run(images=1)])
    assert bootstrap(single, single, "pixel_f1").low == -math.inf


# === Simulation: known truth ===


def correlated_folds(rng: np.random.Generator, experiments: int, j: int, *more: int, truth: float = 0.3) -> np.ndarray:
    """(experiments, *more, j): normal differences, any two folds correlated as Nadeau and Bengio assume (1 of 5)."""
    rho = 20 / (20 + 80)
    common = rng.standard_normal((experiments, *more, 1))
    return truth + math.sqrt(rho) * common + math.sqrt(1 - rho) * rng.standard_normal((experiments, *more, j))


@pytest.mark.parametrize(("j", "naive_at_most"), [(2, 0.94), (5, 0.89), (30, 0.55)])
def test_corrected_t_covers_where_the_usual_t_does_not(j: int, naive_at_most: float) -> None:
    folds = correlated_folds(np.random.default_rng(j), 3000, j).tolist()
    covers = {}
    for name, train in (("corrected", 80), ("usual", 1e12)):
        found = [corrected_t(differences, train, 20) for differences in folds]
        covers[name] = np.mean([t.low <= 0.3 <= t.high for t in found])
    assert 0.93 <= covers["corrected"] <= 0.97, covers
    assert covers["usual"] <= naive_at_most, covers


def test_corrected_t_covers_for_learners_that_are_trained_on_folds() -> None:
    # least squares with 5 of 10 features against all 10, on 100 points: real training sets that overlap
    rng = np.random.default_rng(3)

    def sample(experiments: int) -> tuple[np.ndarray, np.ndarray]:
        x = rng.standard_normal((experiments, 100, 10))
        return x, x.sum(-1) * 0.25 + rng.standard_normal((experiments, 100))

    def difference(x: np.ndarray, y: np.ndarray, held_out: np.ndarray) -> np.ndarray:
        train, losses = np.setdiff1d(np.arange(100), held_out), []
        for width in (5, 10):
            known = x[:, train, :width]
            right = known.swapaxes(1, 2) @ y[:, train, None]
            found = x[:, held_out, :width] @ np.linalg.solve(known.swapaxes(1, 2) @ known, right)
            losses.append(((y[:, held_out] - found[..., 0]) ** 2).mean(1))
        return losses[0] - losses[1]

    truth = difference(*sample(20_000), np.arange(20)).mean()
    x, y = sample(800)
    blocks = [block for _ in range(6) for block in np.array_split(rng.permutation(100), 5)]
    folds = np.transpose([difference(x, y, block) for block in blocks])

    def covers(count: int, train: float) -> float:
        found = [corrected_t(row, train, 20) for row in folds[:, :count].tolist()]
        return float(np.mean([t.low <= truth <= t.high for t in found]))

    assert covers(5, 80) >= 0.94  # of one cross-validation: careful
    assert covers(30, 80) >= 0.93 and covers(30, 1e12) <= 0.65  # of six: right, where the usual t is wrong


def test_of_twelve_factors_without_effect_rarely_any_is_claimed() -> None:
    rng = np.random.default_rng(4)
    experiments, factors = 1500, 12
    baseline = correlated_folds(rng, experiments, 5, 1, truth=0.0)  # the same for all factors
    folds = correlated_folds(rng, experiments, 5, factors, truth=0.0) - baseline
    ts = [[corrected_t(d, 80, 20) for d in row] for row in folds.tolist()]

    def claims(adjust: bool) -> float:
        found = []
        for row in ts:
            p_values = [t.p for t in row]
            adjusted = holm(p_values) if adjust else p_values
            found.append(any(judge(t, p) != "cannot tell" for t, p in zip(row, adjusted, strict=True)))
        return float(np.mean(found))

    assert claims(adjust=True) <= 0.055  # .05, and the error of 1500 experiments
    assert claims(adjust=False) >= 0.25


def test_the_best_of_a_screening_are_judged_by_all_that_were_screened() -> None:
    # 12 without effect, the best 3 trained longer on the same folds: what was luck with the images is so again
    rng = np.random.default_rng(6)
    experiments, factors = 1200, 12
    lasting = correlated_folds(rng, experiments, 5, factors, truth=0.0)
    screened = lasting + 0.3 * rng.standard_normal(lasting.shape)
    confirmed = lasting + 0.3 * rng.standard_normal(lasting.shape)
    claims = {3: 0, 12: 0}
    for chances, rows in zip(screened.mean(-1), confirmed, strict=True):
        ts = [corrected_t(rows[k].tolist(), 80, 20) for k in np.argsort(-chances)[:3]]
        for family in claims:
            adjusted = holm([t.p for t in ts], family)
            claims[family] += any(judge(t, p) != "cannot tell" for t, p in zip(ts, adjusted, strict=True))
    assert claims[12] / experiments <= 0.05 < 0.06 < claims[3] / experiments, claims


@pytest.mark.parametrize("images", [60, 100])
def test_bootstrap_covers_the_difference_over_all_images(images: int) -> None:
    rng = np.random.default_rng(images)

    def world(n: int) -> tuple[Counts, Counts]:
        """Ours somewhat better; beta-distributed recall and precision of an image, alike in both, few images hard."""
        road = np.floor(160_000 * rng.beta(3, 12, n))
        hard = 0.6 * rng.standard_normal(n) - 2 * (rng.random(n) < 0.05)
        sides = []
        for gain in (0.12, 0.0):
            means = 1 / (1 + np.exp(-(2 + gain + hard + 0.25 * rng.standard_normal((2, n)))))
            recall, precision = np.clip(rng.beta(60 * means, 60 * (1 - means)), 0.05, 1)
            tp = np.floor(road * recall)
            fp = np.minimum(np.floor(tp * (1 - precision) / precision), 160_000 - road)
            matrix = np.stack([160_000 - road - fp, fp, road - tp, tp], -1).reshape(1, n, 2, 2).astype(np.int64)
            sides.append(Counts(matrix, matrix, tuple(map(str, range(n))), np.ones((1, n), bool)))
        return sides[0], sides[1]

    ours, base = world(400_000)
    truth = ours.score("pixel_f1") - base.score("pixel_f1")
    intervals = [bootstrap(*world(images), "pixel_f1", resamples=400, seed=k) for k in range(500)]
    assert 0.92 <= np.mean([i.low <= truth <= i.high for i in intervals]) <= 0.98


# === More runs ===


def spread(mean: float, sd: float = 1.0, count: int = 5) -> PairedT:
    """The corrected t of differences with exactly this mean and sd."""
    unit = np.sqrt((count - 1) / count) * np.resize([1.0, -1.0], count - count % 2)
    unit = unit if count % 2 == 0 else np.append(unit * np.sqrt(count / (count - 1)), 0.0)
    return corrected_t((mean + sd * unit).tolist(), 80, 20)


def test_without_overlap_the_number_of_runs_is_the_textbook_one() -> None:
    # Cohen 1988: effect .5, two-sided alpha .05: 34 differences have a power of .80 (.8078); effect .8: 15
    assert more_runs(spread(0.5), 1e12, 1, None, 1).differences == 34
    assert more_runs(spread(-0.8), 1e12, 1, None, 1).differences == 15
    many = spread(0.5, count=34)
    assert more_runs(many, 1e12, 1, None, 1).power == pytest.approx(0.8078, abs=0.0005)
    assert more_runs(many, 1e12, 1, None, 1, power=0.8078).detectable == pytest.approx(0.5, abs=0.001)


def test_power_is_the_share_of_experiments_that_tell() -> None:
    folds = correlated_folds(np.random.default_rng(7), 3000, 5, truth=2.0)
    told = np.mean([corrected_t(d, 80, 20).p < 0.05 for d in folds.tolist()])
    outlook = more_runs(spread(2.0, math.sqrt(0.8)), 80, 20, None, 1)  # .8: the variance within an experiment
    assert outlook.power == pytest.approx(told, abs=0.025)


def test_more_folds_of_the_same_images_help_little_and_have_a_floor() -> None:
    some = more_runs(spread(1.6), 80, 20, None, 1)
    assert some.differences is not None and some.differences > 5 and some.seeds == 1
    assert some.text.endswith("with 1 seed would tell, if +1.6000 is true") and "x 5)" in some.text
    none = more_runs(spread(1.3), 80, 20, None, 1)  # the error stays above sd / 2
    assert (none.differences, none.seeds) == (None, None)
    assert 1.4 < none.limit < 1.5 < none.detectable and "no number of folds" in none.text
    told = more_runs(spread(2.0), 80, 20, None, 1)
    assert told.text.startswith("told already") and (told.differences, told.seeds) == (5, 1)
    assert more_runs(spread(2.0), 80, 20, None, 1, alpha=0.05 / 12).differences != 5  # one of twelve factors
    few = more_runs(spread(2.6, count=3), 80, 20, None, 1)
    assert few.differences in (4, 5) and ("all 5 folds" in few.text or "4 of 5 folds" in few.text)
    assert "now none" in more_runs(spread(0.01, 0.2, count=2), 80, 20, None, 1).text  # beyond what a score can differ


def test_more_seeds_help_where_the_spread_is_that_of_the_seeds() -> None:
    mostly = more_runs(spread(1.3), 80, 20, 0.95, 1)
    assert mostly.differences is not None and mostly.seeds is not None and mostly.seeds > 1
    little = more_runs(spread(1.3), 80, 20, 0.2, 1)
    assert little.differences is None
    assert mostly.limit < little.limit < more_runs(spread(1.3), 80, 20, None, 1).limit
    # a spread between seeds beyond all that there is (two noisy estimates) is taken for all of it
    assert more_runs(spread(0.1), 80, 20, 50.0, 2).limit >= 0


def test_images_of_a_group_are_drawn_together() -> None:
    rng = np.random.default_rng(0)
    images, sites = 60, 6
    site = np.repeat(rng.normal(0, 60, sites), images // sites).round().astype(int)  # what a site's images share
    base = np.full((1, images), 300)
    stems = tuple(f"{k:02d}" for k in range(images))

    def counts(wrong: np.ndarray) -> Counts:
        pixels = np.stack([np.stack([3000 - wrong, wrong], -1), np.stack([wrong, 1000 - wrong], -1)], -2)
        return Counts(pixels, np.zeros((1, images, 2, 2), np.int64), stems, np.ones((1, images), bool))

    ours, theirs = counts(base + site), counts(base)
    groups = {stem: f"site {k * sites // images}" for k, stem in enumerate(stems)}
    grouped = ours.by_group(groups), theirs.by_group(groups)
    assert grouped[0].stems == tuple(sorted(set(groups.values()))) and grouped[0].pixels.shape == (1, sites, 2, 2)
    assert grouped[0].score("pixel_f1") == pytest.approx(ours.score("pixel_f1"))
    alone = ours.by_group({})
    assert alone.stems == ours.stems and np.array_equal(alone.pixels, ours.pixels) and alone.seen.all()
    narrow, wide = bootstrap(ours, theirs, "pixel_f1"), bootstrap(*grouped, "pixel_f1")
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_images_dealt_out_twice_are_drawn_once() -> None:
    """A repeated cross-validation has each image in every repeat; a resample has all of its repeats, or none."""
    rng = np.random.default_rng(3)
    images, stems = 40, tuple(f"{k:02d}" for k in range(40))

    def counts(wrong: np.ndarray) -> Counts:
        pixels = np.stack([np.stack([3000 - wrong, wrong], -1), np.stack([wrong, 1000 - wrong], -1)], -2)
        return Counts(pixels, np.zeros((len(wrong), images, 2, 2), np.int64), stems, np.ones(wrong.shape, bool))

    base = np.full((1, images), 300)
    ours = base + rng.normal(0, 60, (1, images)).round().astype(int)
    once = bootstrap(counts(ours), counts(base), "pixel_f1")
    again = bootstrap(counts(np.repeat(ours, 2, 0)), counts(np.repeat(base, 2, 0)), "pixel_f1")
    assert (again.low, again.high) == pytest.approx((once.low, once.high))  # the same images tell no more
    noisy = counts(np.concatenate([ours, base + rng.normal(0, 60, (1, images)).round().astype(int)]))
    both = bootstrap(noisy, counts(np.repeat(base, 2, 0)), "pixel_f1")
    assert both.high - both.low < once.high - once.low  # what only the one repeat had wrong is averaged


def test_repeats_count_as_folds_but_never_as_other_images() -> None:
    """Bouckaert and Frank 2004: with r x k differences s² (1/(r k) + n_test/n_train), r k - 1 degrees of freedom."""
    folds = correlated_folds(np.random.default_rng(11), 1, 50)[0].tolist()  # 10 repeats of 5 folds of 100 images
    t = corrected_t(folds, 80, 20)
    assert t.df == 49 and t.sd is not None
    assert (t.high - t.low) / 2 == pytest.approx(2.00958 * t.sd * math.sqrt(1 / 50 + 20 / 80), rel=1e-5)


def test_one_fold_or_no_spread_gives_no_plan() -> None:
    for differences in ([0.1], [0.1, 0.1], [0.0, 0.0]):
        outlook = more_runs(corrected_t(differences, 80, 20), 80, 20, None, 1)
        assert (outlook.differences, outlook.detectable) == (None, math.inf)
    assert "run all 5" in more_runs(corrected_t([0.1], 80, 20), 80, 20, None, 1).text
    with pytest.raises(ValueError, match="seeds 0"):
        more_runs(spread(0.5), 80, 20, None, 0)


@given(finite, st.floats(1e-4, 0.5), st.integers(2, 40), st.integers(1, 3), st.none() | st.floats(0, 0.5))
@settings(max_examples=40, deadline=None)
def test_an_outlook_agrees_with_itself(mean: float, sd: float, count: int, seeds: int, noise: float | None) -> None:
    t = spread(mean, sd, count)
    assert (t.mean, t.sd) == (pytest.approx(mean), pytest.approx(sd))
    outlook = more_runs(t, 80, 20, noise, seeds)
    assert len(outlook.text) <= 100 and 0 <= outlook.power <= 1 and outlook.limit <= outlook.detectable
    assert (outlook.power >= 0.8) == (abs(mean) >= outlook.detectable)
    assert ((outlook.differences, outlook.seeds) == (count, seeds)) == (t.p <= 0.05)
    assert more_runs(spread(-mean, sd, count), 80, 20, noise, seeds).differences == outlook.differences
    if outlook.differences is not None:
        assert outlook.differences >= count and outlook.seeds is not None and outlook.seeds >= seeds
    else:
        assert abs(mean) < outlook.limit * 1.001
    strict = more_runs(t, 80, 20, noise, seeds, alpha=0.05 / 12)
    assert strict.detectable > outlook.detectable
