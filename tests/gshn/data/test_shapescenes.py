import hashlib
import pickle
import re
from collections import Counter

import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from gshn.data.shapescenes import LEVELS, Scene, ShapeScenes, Stuff, Thing
from gshn.data.shapescenes.captions import NUMBERS
from gshn.data.shapescenes.draw import COLOURS, STUFF, second_tone
from gshn.data.shapescenes.scene import (
    COLUMNS,
    GRID,
    MIN_VISIBLE_SHARE,
    ROWS,
    SHAPES,
    SIZES,
    TEXTURES,
    Border,
)
from gshn.data.shapescenes.scene import STUFF as STUFF_NAMES
from gshn.errors import ConfigError
from gshn.segments.panoptic import segments_from_map


@pytest.fixture(scope="module")
def scenes() -> ShapeScenes:
    return ShapeScenes("test", 300)


def test_same_bytes_on_every_machine() -> None:
    digest = hashlib.sha256()
    for split in ("train", "test"):
        collection = ShapeScenes(split, 12)
        for i in range(12):
            sample = collection[i]
            assert sample.panoptic is not None
            digest.update(sample.image.tobytes())
            digest.update(sample.panoptic.segment_map.astype("<i4").tobytes())
            digest.update(repr(collection.captions[i]).encode())
    assert digest.hexdigest() == "d5dda753bda143c15115f8c2f393cb65114f8895e52d4d9e57886b6c79fa5d1a"


def test_a_scene_does_not_depend_on_how_many_there_are() -> None:
    few, many = ShapeScenes("train", 20), ShapeScenes("train", 60)
    assert few.scenes == many.scenes[:20]
    assert few.captions == many.captions[:20]
    assert np.array_equal(few[7].image, many[7].image)
    assert ShapeScenes("train", 20, seed=1).scenes != few.scenes


def test_index_counts_from_the_end_too() -> None:
    scenes = ShapeScenes("test", 3)
    assert scenes[-1].name == scenes[2].name == "shapescenes/test/2"
    assert np.array_equal(scenes[-1].image, scenes[2].image)
    with pytest.raises(IndexError):
        scenes[3]


def test_scenes_stay_small_in_memory(scenes: ShapeScenes) -> None:
    # Masks would be 70 kB a scene; they must not stay on the scenes that have been looked at.
    for scene in scenes.scenes:
        scene.visible_share(0)
    assert len(pickle.dumps(scenes.scenes)) < 2000 * len(scenes)


def test_segments_are_exact(scenes: ShapeScenes) -> None:
    names = {category.id: category for category in scenes.categories}
    for i in range(40):
        sample, scene = scenes[i], scenes.scenes[i]
        panoptic = sample.panoptic
        assert panoptic is not None
        assert (panoptic.segment_map > 0).all()
        recomputed = segments_from_map(panoptic.segment_map, {s.id: s.category_id for s in panoptic.segments})
        assert panoptic.segments == recomputed.segments
        expected = [s.category for s in scene.stuff] + [t.shape for t in scene.things]
        assert [names[s.category_id].name for s in panoptic.segments] == expected
        assert [names[s.category_id].isthing for s in panoptic.segments] == [name in SHAPES for name in expected]


def test_pixels_have_their_segments_colours(scenes: ShapeScenes) -> None:
    for i in range(40):
        sample, scene = scenes[i], scenes.scenes[i]
        assert sample.panoptic is not None
        for number, thing in enumerate(scene.things, start=1 + len(scene.stuff)):
            inside = binary_erosion(sample.panoptic.segment_map == number, iterations=2)
            pixels = sample.image[inside].astype(float)
            if not len(pixels):
                continue
            one, other = (np.array(c, float) for c in (COLOURS[thing.colour], second_tone(COLOURS[thing.colour])))
            # Every pixel is a mixture of the thing's two tones, of one for plain things.
            share = ((pixels - one) @ (other - one) / ((other - one) ** 2).sum()).clip(0, 1)
            assert np.abs(pixels - one - share[:, None] * (other - one)).max() < 3
            assert (share.max() > 0.9) == (thing.texture != "plain")
        for number, stuff in enumerate(scene.stuff, start=1):
            inside = binary_erosion(sample.panoptic.segment_map == number, iterations=2)
            assert np.abs(sample.image[inside].mean(axis=0) - STUFF[stuff.category]).max() < 10


def test_everything_can_be_seen_and_much_is_occluded(scenes: ShapeScenes) -> None:
    hidden = 0
    for i, scene in enumerate(scenes.scenes):
        shares = [scene.visible_share(k) for k in range(len(scene.things))]
        assert min(shares) >= MIN_VISIBLE_SHARE
        hidden += min(shares) < 0.95
        if i < 60:
            panoptic = scenes[i].panoptic
            assert panoptic is not None
            assert min(s.area for s in panoptic.segments) >= 25
    assert hidden / len(scenes) > 0.3


def test_all_kinds_occur(scenes: ShapeScenes) -> None:
    things = [thing for scene in scenes.scenes for thing in scene.things]
    for name, kinds in (("shape", SHAPES), ("colour", COLOURS), ("size", SIZES), ("texture", TEXTURES)):
        assert set(Counter(getattr(t, name) for t in things)) == set(kinds)
    assert {s.category for scene in scenes.scenes for s in scene.stuff} == set(STUFF_NAMES)
    assert {len(scene.things) for scene in scenes.scenes} == {2, 3, 4, 5}
    assert {t.cell for t in things} == {(row, column) for row in ROWS for column in COLUMNS}


def parse(caption: str) -> tuple[object, ...]:
    """A detailed caption -> what it states, like :meth:`Scene.content`."""
    where = r"((?:top|middle|bottom|left|right|center| (?=\w))+)"
    thing = rf"an? (\w+) (\w+) (?:(striped|dotted|checkered) )?({'|'.join(SHAPES)}) at {where}"
    things = []
    for size, colour, texture, shape, cell in re.findall(thing, caption):
        words = cell.split()
        row = next((w for w in words if w in ("top", "bottom")), "middle")
        column = next((w for w in words if w in ("left", "right")), "center")
        things.append((size, colour, texture or "plain", shape, row, column))
    stuff = re.findall(rf"({'|'.join(STUFF_NAMES)}) at {where}", caption)
    return tuple(sorted(things)), tuple(sorted((name, position.strip()) for name, position in stuff))


def test_detailed_captions_say_what_is_there_and_tell_scenes_apart() -> None:
    contents = set()
    for split, count in (("train", 1500), ("validation", 100), ("test", 400)):
        collection = ShapeScenes(split, count)
        for scene, captions in zip(collection.scenes, collection.captions, strict=True):
            stated = parse(captions[0].replace(" and ", " , ").replace(" with ", " , "))
            assert stated == scene.content(), captions[0]
            contents.add(stated)
    assert len(contents) == 2000


def holds(scene: Scene, relation: str, a: int, b: int) -> bool:
    """Whether the relation that a caption names is that of things a and b."""
    return {
        "left of": lambda: scene.left_of(a, b),
        "right of": lambda: scene.left_of(b, a),
        "above": lambda: scene.above(a, b),
        "below": lambda: scene.above(b, a),
        "in front of": lambda: scene.in_front_of(a, b),
        "behind": lambda: scene.in_front_of(b, a),
        "next to": lambda: a != b,
    }[relation]()


def test_vaguer_captions_are_true(scenes: ShapeScenes) -> None:
    for scene, captions in zip(scenes.scenes, scenes.captions, strict=True):
        assert len(captions) == LEVELS
        _, coloured, related, counted, vague = captions
        pairs = Counter(re.findall(rf"an? (\w+) ({'|'.join(SHAPES)}) on (\w+)", coloured))
        assert pairs == Counter((t.colour, t.shape, scene.on(i)) for i, t in enumerate(scene.things))
        match = re.fullmatch(r"an? (\w+) (\w+) (.+) an? (\w+) (\w+)", related)
        assert match is not None
        first, relation, second = match.group(1, 2), match.group(3), match.group(4, 5)
        named = [(t.colour, t.shape) for t in scene.things]
        pairs_of = [(a, b) for a in range(len(named)) for b in range(len(named))]
        assert any(holds(scene, relation, a, b) for a, b in pairs_of if (named[a], named[b]) == (first, second))
        counts = Counter(t.shape for t in scene.things)
        for word, shape in re.findall(rf"(\w+) ({'|'.join(SHAPES)})(?:e?s)?\b", counted):
            assert counts.pop(shape) == (1 if word in ("a", "an") else NUMBERS.index(word))
        assert not counts
        assert vague.split()[0] == NUMBERS[len(scene.things)]
        assert all(stuff.category in vague for stuff in scene.stuff)
    lengths = np.array([[len(c.split()) for c in captions] for captions in scenes.captions]).mean(axis=0)
    assert lengths[0] > lengths[1] > lengths[2] > lengths[4]


def test_relations_by_hand() -> None:
    star = Thing("star", "red", "medium", "plain", 30, 30)
    ring = Thing("ring", "teal", "medium", "plain", 60, 34)
    heart = Thing("heart", "pink", "small", "plain", 36, 30)
    scene = Scene(
        (star, ring, heart), (Stuff("sky", "top"), Stuff("sand", "bottom")), (Border(False, (48,) * 5),), (-1,)
    )
    assert scene.left_of(0, 1)
    assert not scene.left_of(1, 0)
    assert not scene.left_of(0, 2)  # six units are not clearly left
    assert not scene.above(0, 1)
    assert scene.overlaps(0, 2)
    assert scene.in_front_of(2, 0)
    assert not scene.in_front_of(0, 2)
    assert not scene.overlaps(0, 1)
    assert [scene.on(i) for i in range(3)] == ["sky", "sky", "sky"]
    assert star.cell == ("top", "left")
    assert scene.stuff_map(GRID)[47, 0] == 0
    assert scene.stuff_map(GRID)[48, 0] == 1


@pytest.mark.parametrize("arguments", [("dev", 1), ("train", 0), ("train", 1, -1), ("train", 1, 0, 16)])
def test_what_cannot_be_is_refused(arguments: tuple) -> None:
    with pytest.raises(ConfigError, match="ShapeScenes"):
        ShapeScenes(*arguments)
