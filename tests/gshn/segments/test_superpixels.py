import json
import shutil
from pathlib import Path

import easy_vqa
import numpy as np
import official
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

from gshn.errors import DataError
from gshn.segments import superpixels as module
from gshn.segments.superpixels import REGION, SuperpixelParameters, SuperpixelSegmenter, superpixels, ward_merge


def draw(size, background, things, scale=8):
    """Anti-aliased discs (x, y, radius, colour)."""
    image = Image.new("RGB", (size * scale, size * scale), background)
    for x, y, radius, colour in things:
        box = [(v * scale) for v in (x - radius, y - radius, x + radius, y + radius)]
        ImageDraw.Draw(image).ellipse(box, fill=colour)
    return np.asarray(image.resize((size, size), Image.Resampling.BOX))


def best_iou(segments, mask):
    masks = [segments.segment_map == s.id for s in segments.segments]
    return max((m & mask).sum() / (m | mask).sum() for m in masks)


def disc(size, x, y, radius):
    rows, columns = np.mgrid[:size, :size] + 0.5
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def test_each_disc_is_a_segment_with_its_exact_outline():
    things = [(12, 14, 4, "red"), (30, 40, 9, "navy"), (50, 12, 6, "yellow")]
    found = SuperpixelSegmenter()(draw(64, (240, 245, 235), things))
    assert len(found.segments) == 4
    for x, y, radius, _ in things:
        assert best_iou(found, disc(64, x, y, radius)) > 0.9


def test_segments_are_connected_tile_the_image_and_are_not_tiny():
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    smooth = ndimage.gaussian_filter(noise.astype(float), (3, 3, 0))
    image = (255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)
    found = SuperpixelSegmenter()(image)
    found.validate()
    assert len(found.segments) > 3
    assert (found.segment_map > 0).all()
    for segment in found.segments:
        assert segment.area >= 8
        assert ndimage.label(found.segment_map == segment.id, np.ones((3, 3)))[1] == 1
        assert segment.category_id == REGION.id


def test_like_colours_merge():
    image = np.full((32, 32, 3), 200, dtype=np.uint8)
    image[:, 16:] = 212  # 4.5 Lab units lighter
    assert len(SuperpixelSegmenter()(image).segments) == 1
    assert len(SuperpixelSegmenter(SuperpixelParameters(merge_distance=2))(image).segments) == 2


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 2, 3), (1, 30, 3), (20, 20, 3)])
def test_plain_and_noisy_images_of_any_size_have_a_segment(shape):
    for image in (np.full(shape, 7, np.uint8), np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)):
        found = SuperpixelSegmenter()(image)
        found.validate()
        assert sum(s.area for s in found.segments) == shape[0] * shape[1]


def test_is_deterministic():
    image = np.random.default_rng(2).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    first, second = SuperpixelSegmenter()(image), SuperpixelSegmenter()(image.copy())
    np.testing.assert_array_equal(first.segment_map, second.segment_map)


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_what_is_no_rgb_image(image):
    with pytest.raises(DataError, match=r"expected an RGB image \(H, W, 3\) uint8, not"):
        SuperpixelSegmenter()(image)


def test_key_tells_parameters_apart():
    assert SuperpixelSegmenter().key != SuperpixelSegmenter(SuperpixelParameters(scale=31)).key
    assert len({SuperpixelSegmenter(count=count).key for count in (None, 12, 13)}) == 3
    # Graphs that were cached before a number could be given stay valid.
    own = "SuperpixelSegmenter(SuperpixelParameters(scale=30.0, merge_distance=10.0, min_area=0.002)) scikit-image "
    assert SuperpixelSegmenter().key.startswith(own)


def test_shapes_of_easy_vqa_come_out_exactly():
    folder = Path(easy_vqa.__file__).parent / "data" / "train" / "images"
    ious = []
    for index in range(0, 4000, 40):
        image = np.asarray(Image.open(folder / f"{index}.png").convert("RGB"))
        found = SuperpixelSegmenter()(image)
        assert len(found.segments) == 2
        # The shape: pixels mixed from more of its colour, the commonest but one, than of the background's.
        colours, counts = np.unique(image.reshape(-1, 3), axis=0, return_counts=True)
        second, first = colours[counts.argsort()[-2:]].astype(float)
        ious.append(best_iou(found, (image - first) @ (second - first) > 0.5 * ((second - first) ** 2).sum()))
    assert np.mean(ious) > 0.98
    assert min(ious) > 0.8


def test_a_number_of_segments_is_met():
    image = np.random.default_rng(3).integers(0, 256, (6, 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    for count in (1, 5, 12):
        found = SuperpixelSegmenter(count=count)(image)
        found.validate()
        assert len(found.segments) == count and (found.segment_map > 0).all()
    assert len(SuperpixelSegmenter(count=60)(image).segments) == 48


def naive_ward(labels, colours, count):
    """All pairs of touching regions looked at in every step, from their pixels."""
    labels = labels.copy()
    while len(np.unique(labels[labels > 0])) > count:
        costs = {}
        pairs = zip(
            np.concatenate([labels[1:].ravel(), labels[:, 1:].ravel()]).tolist(),
            np.concatenate([labels[:-1].ravel(), labels[:, :-1].ravel()]).tolist(),
            strict=True,
        )
        for a, b in {pair for pair in pairs if pair[0] != pair[1] and min(pair) > 0}:
            own = [((colours[m] - colours[m].mean(axis=0)) ** 2).sum() for m in (labels == a, labels == b)]
            both = colours[(labels == a) | (labels == b)]
            costs[a, b] = ((both - both.mean(axis=0)) ** 2).sum() - sum(own)
        if not costs:
            break
        a, b = min(costs, key=costs.__getitem__)
        labels[labels == a] = b
    return labels


@pytest.mark.parametrize("count", [1, 4, 9])
def test_merging_is_wards(count):
    random = np.random.default_rng(count)
    labels = np.arange(1, 31).reshape(5, 6).repeat(3, 0).repeat(2, 1)
    labels[:, 6:8] = 0  # nothing, between two sides that never merge
    labels = np.unique(labels, return_inverse=True)[1].reshape(labels.shape)
    colours = random.normal(size=(*labels.shape, 3)) + random.normal(size=(labels.max() + 1, 3))[labels]
    merged, expected = ward_merge(labels, colours, count), naive_ward(labels, colours, count)
    assert sorted(np.unique(merged)) == list(range(max(count, 2) + 1))
    pairs = set(zip(merged.ravel().tolist(), expected.ravel().tolist(), strict=True))
    assert len(pairs) == max(count, 2) + 1 and (0, 0) in pairs


@pytest.mark.parametrize("count", [None, 6])
def test_superpixels_of_a_part_of_an_image_stay_within_it(count):
    image = np.random.default_rng(5).integers(0, 256, (5, 6, 3), dtype=np.uint8).repeat(10, 0).repeat(10, 1)
    inside = np.zeros((50, 60), dtype=bool)
    inside[3:40, 4:30] = True
    inside[45:, 50:] = True
    inside[44, 10:50] = True  # one pixel thick
    inside[40, 30] = True  # touches by a corner
    labels = superpixels(image, SuperpixelParameters(), count, inside)
    np.testing.assert_array_equal(labels > 0, inside)
    assert sorted(np.unique(labels)) == list(range(labels.max() + 1))
    assert labels.max() == count if count else labels.max() > 10
    assert len({labels[44, 20], labels[47, 55], labels[5, 5]}) == 3
    assert np.bincount(labels.ravel()).min() >= 5, "no speck"


@pytest.mark.skipif(not official.SHARED.is_dir(), reason="the photographs (shared/data) are not at hand")
def test_a_number_of_segments_follows_things_better_than_likeness():
    """The share of pixels whose segment is mostly of one annotated segment, theirs."""
    folder = official.SHARED / "coco_panoptic_sample"
    entries = json.loads((folder / "annotations" / "panoptic_val2017.json").read_text())["annotations"][:6]
    right = {None: 0, 12: 0}
    for entry in entries:
        with Image.open(folder / "images" / f"{entry['image_id']:012d}.jpg") as stored:
            size = [round(224 * side / max(stored.size)) for side in stored.size]
            image = np.asarray(stored.convert("RGB").resize(size))
        with Image.open(folder / "panoptic" / entry["file_name"]) as stored:
            truth = np.asarray(stored.convert("RGB").resize(size, Image.Resampling.NEAREST)) @ [1, 256, 65536]
        for count in right:
            found = SuperpixelSegmenter(count=count)(image)
            for segment in found.segments:
                _, pixels = np.unique(truth[(found.segment_map == segment.id) & (truth > 0)], return_counts=True)
                right[count] += pixels.max(initial=0) / (truth > 0).sum() / len(entries)
    assert right[12] > right[None] + 0.03 and right[12] > 0.65


def trees(image, scale):
    """The oracle of superpixels._oversegmented: a list of pixels for each tree, edges sorted one by one."""
    height, width = image.shape[:2]
    edges = [
        (float(np.linalg.norm(image[y, x].astype(float) - image[y - dy, x - dx])), place, (y, x), (y - dy, x - dx))
        for place, (dy, dx) in enumerate([(1, 0), (0, 1), (1, 1), (1, -1)])
        for y in range(height)
        for x in range(width)
        if y >= dy and 0 <= x - dx < width
    ]
    tree_of = {(y, x): [(y, x)] for y in range(height) for x in range(width)}
    largest = dict.fromkeys(map(id, tree_of.values()), 0.0)
    for cost, _, one, other in sorted(edges):
        a, b = tree_of[one], tree_of[other]
        if a is not b and all(cost < largest[id(tree)] + scale / len(tree) for tree in (a, b)):
            a.extend(b)
            largest[id(a)] = cost
            tree_of.update(dict.fromkeys(b, a))
    places = list(dict.fromkeys(id(tree_of[y, x]) for y in range(height) for x in range(width)))
    return np.array([[places.index(id(tree_of[y, x])) for x in range(width)] for y in range(height)])


SIZES = [(40, 31), (33, 1), (1, 20), (2, 2), (1, 1)]


def pictures(size):
    """Noise, a smooth picture, and one whose costs are often equal."""
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (*size, 3), dtype=np.uint8)
    smooth = ndimage.gaussian_filter(noise.astype(float), (2, 2, 0))
    spread = (255 * (smooth - smooth.min()) / max(np.ptp(smooth), 1)).astype(np.uint8)
    flat = np.where(random.random(size)[..., None] < 0.5, noise // 64 * 64, 128).astype(np.uint8)
    return noise, spread, flat


def needs_a_compiler():
    if not any(shutil.which(name) for name in ("cc", "gcc", "clang")):
        pytest.skip("no C compiler here")
    assert module.kernels() is not None


@pytest.mark.parametrize("size", SIZES)
def test_c_gives_the_trees_of_the_oracle(size):
    needs_a_compiler()
    for image in pictures(size):
        for scale in (30.0, 300.0):
            assert np.array_equal(module._oversegmented(image, scale), trees(image, scale))
            assert np.array_equal(module._oversegmented(image[:, ::-1], scale), trees(image[:, ::-1], scale))


@pytest.mark.parametrize("size", SIZES)
def test_scikit_image_gives_the_superpixels_of_c_where_no_cost_equals_its_limit(size, monkeypatch):
    needs_a_compiler()
    parameters = SuperpixelParameters(scale=30.0137)  # No cost is a whole multiple of it.
    inside = np.random.default_rng(1).random(size) < 0.7
    for image in pictures(size):
        given = [None, inside]
        own = [superpixels(image, parameters, inside=part) for part in given]
        oversegmented = module._oversegmented(image, parameters.scale)
        with monkeypatch.context() as patch:
            patch.setattr(module, "kernels", lambda: None)
            theirs = [superpixels(image, parameters, inside=part) for part in given]
            assert np.array_equal(oversegmented, module._oversegmented(image, parameters.scale))
        for ours, expected in zip(own, theirs, strict=True):
            assert np.array_equal(ours, expected)


@pytest.mark.parametrize(("scale", "trees"), [(30.0, [[0, 1]]), (30.1, [[0, 0]])])
def test_a_cost_that_equals_its_limit_joins_nothing(scale, trees):
    needs_a_compiler()
    image = np.array([[[0, 0, 0], [30, 0, 0]]], np.uint8)
    assert module._oversegmented(image, scale).tolist() == trees
    assert module._oversegmented(np.ascontiguousarray(image[:, ::-1]), scale).tolist() == trees


def test_a_limit_is_of_both_trees():
    """A large tree, whose limit is low, and a pixel, whose limit is high: in both orders."""
    needs_a_compiler()
    image = np.zeros((1, 6, 3), np.uint8)
    image[0, 5, 0] = 20
    for picture in (image, np.ascontiguousarray(image[:, ::-1])):
        for scale, count in ((40.0, 2), (100.0, 2), (100.1, 1)):  # Limits of the large tree: 8, 20 and 20.02.
            assert module._oversegmented(picture, scale).max() + 1 == count
            assert np.array_equal(module._oversegmented(picture, scale), trees(picture, scale))


def test_merging_by_distance_takes_means_of_pixels():
    """Against means that are computed anew from all pixels in each round."""

    def slowly(labels, colours, distance):
        while True:
            means = {label: colours[labels == label].mean(axis=0) for label in np.unique(labels).tolist()}
            first, second = module._borders(labels)
            pairs = {(a, b) for a, b in zip(first.tolist(), second.tolist(), strict=True)}
            like = [(a, b) for a, b in pairs if np.linalg.norm(means[a] - means[b]) < distance]
            if not like:
                return labels
            group = {label: label for label in means}
            for a, b in like:
                into, gone = sorted((group[a], group[b]))
                group = {label: into if own == gone else own for label, own in group.items()}
            labels = np.vectorize(group.get)(labels)

    random = np.random.default_rng(0)
    for _ in range(20):
        labels = np.kron(np.arange(1, 31).reshape(5, 6), np.ones((4, 4), np.int64)).astype(np.int64)
        labels[:2] = labels[0, 0]  # regions of different sizes
        colours = random.normal(0, 3, (31, 3))[labels]
        found, expected = module._merge(labels, colours, 4.0), slowly(labels, colours, 4.0)
        same = {(a, b) for a, b in zip(found.ravel().tolist(), expected.ravel().tolist(), strict=True)}
        assert len(same) == len(np.unique(found)) == len(np.unique(expected)) > 1


def test_key_tells_who_compares_costs(monkeypatch):
    needs_a_compiler()
    key = SuperpixelSegmenter().key
    monkeypatch.setattr(module, "kernels", lambda: None)
    assert SuperpixelSegmenter().key != key
