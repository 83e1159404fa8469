"""Texts of ShapeScenes' tasks are checked against the scenes, by an interpreter that reads the texts themselves."""

import re
from collections import Counter, defaultdict
from functools import cache
from itertools import combinations

import numpy as np
import pytest

from gshn.data.shapescenes import ShapeScenes, compositions
from gshn.data.shapescenes.compositions import DEVELOPMENT, TEST
from gshn.data.shapescenes.scene import COLOURS, SHAPES, Scene
from gshn.data.shapescenes.tasks import deal
from gshn.errors import ConfigError

NUMBERS = ["zero", "one", "two", "three"]
DX = {"left of": (1, 0), "right of": (-1, 0), "above": (0, 1), "below": (0, -1)}


def things(scene: Scene, words: str) -> list[int]:
    """Places of the things that all the words describe."""
    wanted = set(words.split()) - {"a", "an", "the", "thing"}
    return [i for i, t in enumerate(scene.things) if wanted <= {t.shape, t.colour, t.size, t.texture}]


def related(scene: Scene, first: str, relation: str, second: str) -> bool | None:
    """Whether a relation holds between the only two things so called; None where one is missing or not alone."""
    found = [things(scene, words) for words in (first, second)]
    if [len(own) for own in found] != [1, 1]:
        return None
    a, b = (scene.things[own[0]] for own in found)
    x, y = DX[relation]
    return x * (b.x - a.x) + y * (b.y - a.y) >= 12


RELATED = rf"(.+) ({'|'.join(DX)}) (.+)"


def answer(scene: Scene, question: str) -> str:
    question = question.removesuffix("?")
    if match := re.fullmatch(rf"is {RELATED}", question):
        return "yes" if related(scene, *match.groups()) else "no"
    if match := re.fullmatch(r"is there (.+)", question):
        return "yes" if things(scene, match[1]) else "no"
    if match := re.fullmatch(r"how many (.+?)(e?s) are there", question):
        shape = next(s for s in SHAPES if question.split()[2] in (f"{s}s", f"{s}es"))
        return NUMBERS[len(things(scene, shape))]
    if match := re.fullmatch(r"what is (.+) on", question):
        (i,) = things(scene, match[1])
        return scene.on(i)
    if match := re.fullmatch(r"what (size|colour|shape) is (.+)|what (texture) has (.+)", question):
        (i,) = things(scene, match[2] or match[4])
        return getattr(scene.things[i], match[1] or match[3])
    raise AssertionError(question)


def label(scene: Scene, hypothesis: str) -> str:
    if match := re.fullmatch(r"(the \w+) is (left of|right of|above|below) (.+)", hypothesis):
        first, relation, second = match.groups()
        if not things(scene, first) or not things(scene, second):
            return "neutral"
        return "entailment" if related(scene, first, relation, second) else "contradiction"
    subject, value = re.fullmatch(r"the (\w+ \w+) is (.+)", hypothesis).groups()
    found = things(scene, subject)
    if not found:
        return "neutral"
    (i,) = found
    thing = scene.things[i]
    says = scene.on(i) if value.startswith("on ") else (thing.size, thing.texture)
    return "entailment" if value.removeprefix("on ") in says else "contradiction"


def shows(scene: Scene, noun: str) -> bool:
    if match := re.fullmatch(RELATED, noun):
        return bool(related(scene, *match.groups()))
    return bool(things(scene, noun))


def truth(left: Scene, right: Scene, statement: str) -> bool:
    forms = "both pictures show|exactly one picture shows|only the left picture shows"
    form, noun = re.fullmatch(rf"({forms}) (.+)", statement).groups()
    shown = shows(left, noun), shows(right, noun)
    return {"b": all(shown), "e": sum(shown) == 1, "o": shown == (True, False)}[form[0]]


@cache  # drawing scenes and dealing texts takes seconds
def of_split(split: str | None) -> ShapeScenes:
    return ShapeScenes(split or "test", 250, held_out=split is not None)


@pytest.fixture(params=[*compositions.SPLITS, None])
def scenes(request):
    return of_split(request.param)


def test_every_answer_is_right(scenes) -> None:
    assert min(len(scenes.questions), len(scenes.hypotheses), len(scenes.statements)) > 60
    for q in scenes.questions:
        assert answer(scenes.scenes[q.image_index], q.text) == q.answers[0], q
    for h in scenes.hypotheses:
        assert label(scenes.scenes[h.image_index], h.text) == h.label, h
    for s in scenes.statements:
        assert truth(*(scenes.scenes[i] for i in s.image_indices), s.text) == s.label, s


def test_texts_do_not_tell_answers(scenes) -> None:
    for texts in (scenes.questions, scenes.hypotheses, scenes.statements):
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for text in texts:
            counts[text.text][text.answers[0]] += 1
        for text, own in counts.items():
            assert len(set(own.values())) == 1 and len(own) > 1, (text, own)


def nouns(scene: Scene) -> set[tuple[str, str]]:
    return {(thing.colour, thing.shape) for thing in scene.things}


def mentions(text: str) -> set[str]:
    """Which held-out compositions a text names or states."""
    named = frozenset(word for word in re.findall(r"\w+", text) if word in SHAPES)
    stated = re.search(r"left of|right of|above|below|in front of|behind|next to", text)
    found = set()
    for part, held_out in (("development", DEVELOPMENT), ("test", TEST)):
        if any(f"{colour} {shape}" in text for colour, shape in held_out.nouns):
            found.add(f"{part} attributes")
        if stated is not None and named in held_out.pairs:
            found.add(f"{part} relations")
    return found


@pytest.mark.parametrize("split", compositions.SPLITS)
def test_held_out_compositions_are_held_out(split) -> None:
    own = of_split(split)
    texts = [t.text for t in own.questions + own.hypotheses + own.statements]
    part = {"validation": "development"}.get(split.split("-")[0], "test")
    held_out = {"development": DEVELOPMENT, "test": TEST}[part].nouns
    if split.endswith("attributes"):
        assert all(nouns(scene) & held_out for scene in own.scenes)
        assert all(nouns(scene) <= held_out | compositions.KNOWN.nouns for scene in own.scenes)
    else:
        assert all(nouns(scene) <= compositions.KNOWN.nouns for scene in own.scenes)
    about = split.removeprefix("validation-")
    if about in ("attributes", "relations"):
        assert len(texts) > 300 and all(mentions(text) == {f"{part} {about}"} for text in texts)
    else:
        texts += [caption for captions in own.captions for caption in captions[2:3]]
        assert len(texts) > 2000 and not any(mentions(text) for text in texts)


def test_a_quarter_of_every_colour_and_shape_is_held_out_for_development_and_another_for_the_test() -> None:
    for held_out in (DEVELOPMENT, TEST):
        assert sorted(c for c, _ in held_out.nouns) == sorted(2 * COLOURS)
        assert sorted(s for _, s in held_out.nouns) == sorted(2 * SHAPES)
        assert sorted(s for pair in held_out.pairs for s in pair) == sorted(SHAPES)
    assert not DEVELOPMENT.nouns & TEST.nouns and not DEVELOPMENT.pairs & TEST.pairs


def test_splits_share_no_scene() -> None:
    contents = {split: {scene.content() for scene in of_split(split).scenes} for split in compositions.SPLITS}
    twins = {("validation", "validation-relations"), ("test", "relations")}
    for first, second in combinations(contents, 2):
        same = (first, second) in twins
        assert contents[first] == contents[second] if same else not contents[first] & contents[second]
    with pytest.raises(ConfigError, match="no split 'attributes'; choose one of train, validation, test"):
        ShapeScenes("attributes", 2)


def test_other_pictures_have_another_key(monkeypatch) -> None:
    """The graph cache goes by the key."""
    pictures = defaultdict(set)
    for held_out, splits in ((False, ("train", "test")), (True, compositions.SPLITS)):
        for split, seed, size in ((split, seed, size) for split in splits for seed in (0, 1) for size in (48, 64)):
            scenes = ShapeScenes(split, 2, seed, size, held_out)
            pictures[scenes.key].add(scenes[1].image.tobytes())
    assert all(len(shown) == 1 for shown in pictures.values())
    assert len(pictures) == len(set.union(*pictures.values())) == 4 * (2 + 5)  # relations has the pictures of test

    before = ShapeScenes("train", 2, held_out=True).key
    monkeypatch.setattr(compositions, "VERSION", 1)
    assert ShapeScenes("train", 2, held_out=True).key != before


def test_dealing_whole_sets() -> None:
    facts = {"a?": {"yes": [1, 2, 3], "no": [4, 5]}, "b?": {"yes": [1]}}
    dealt = deal(facts, ("yes", "no"), 9, np.random.default_rng(0))
    assert [[(text, own) for text, own, _ in each] for each in dealt] == 2 * [[("a?", "yes"), ("a?", "no")]]
    assert len({scene for each in dealt for _, _, scene in each}) == 4, "no scene twice with a text"
    assert len(deal(facts, ("yes", "no"), 1, np.random.default_rng(0))) == 1
    assert deal(facts, None, 9, np.random.default_rng(0))[0][0][1] == "no", "every answer of the text, by name"


def test_dealing_an_answer_twice() -> None:
    facts = {"a": {"yes": [1, 2, 3], "no": [4, 5]}}
    ((first, second, third),) = deal(facts, ("yes", "yes", "no"), 9, np.random.default_rng(0))
    assert [own for _, own, _ in (first, second, third)] == ["yes", "yes", "no"]
    assert len({scene for _, _, scene in (first, second, third)}) == 3


def test_few_scenes_suffice_for_every_kind_of_text() -> None:
    few = ShapeScenes("train", 30, held_out=True)
    assert min(len(few.questions), len(few.hypotheses), len(few.statements)) >= 30


def test_relations_have_their_share() -> None:
    scenes = ShapeScenes("train", 400, held_out=True)
    for texts, share in ((scenes.questions, 1 / 4), (scenes.hypotheses, 1 / 2), (scenes.statements, 1 / 3)):
        own = [re.search("|".join(DX), t.text) is not None for t in texts]
        assert abs(sum(own) / len(own) - share) < 0.03
