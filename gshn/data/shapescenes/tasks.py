"""Scenes -> questions, hypotheses and statements. Every text has each of its answers equally often.

So a model that ignores the image is at chance level. "what size is the red star?", for example, is answered by small,
medium and large a third of the time each. First the facts are collected: which scenes give which answer to a text. Then
texts are dealt in whole sets, with one scene for each answer.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, permutations
from typing import NamedTuple, TypeVar

import numpy as np

from gshn.data.shapescenes.captions import NUMBERS, article, plural
from gshn.data.shapescenes.compositions import Noun, Texts
from gshn.data.shapescenes.scene import COLOURS, SHAPES, SIZES, STUFF, TEXTURES, Scene
from gshn.data.texts import ENTAILMENT, Hypothesis, Question, Statement

T = TypeVar("T")

PER_SCENE = 4
"""Mean number of texts of each kind for a scene; fewer if there are not enough scenes."""

Facts = dict[str, dict[str, list[int]]]
"""Text -> answer -> scenes for which this is the answer."""

RELATIONS = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
"""Each with its opposite."""


class Described:
    """Facts about the scenes of a split.

    Args:
        scenes: The scenes.
        texts: Combinations that texts on them may contain.
    """

    def __init__(self, scenes: Sequence[Scene], texts: Texts):
        self.scenes, self.texts = scenes, texts
        self.only: list[dict[Noun, dict[str, str]]] = []
        """Size, texture and ground of each scene's things whose colour and shape no other thing has."""
        self.by_shape: list[dict[str, int | None]] = []
        """Place of each scene's things by shape; None where there are several."""
        self._with: dict[str | Noun, set[int]] = defaultdict(set)
        for number, scene in enumerate(scenes):
            nouns = Counter((thing.colour, thing.shape) for thing in scene.things)
            shapes = Counter(thing.shape for thing in scene.things)
            self.only.append(
                {
                    (thing.colour, thing.shape): {"size": thing.size, "texture": thing.texture, "ground": scene.on(i)}
                    for i, thing in enumerate(scene.things)
                    if nouns[thing.colour, thing.shape] == 1
                }
            )
            self.by_shape.append({t.shape: i if shapes[t.shape] == 1 else None for i, t in enumerate(scene.things)})
            keys: set[str | Noun] = {*nouns, *shapes, *(thing.colour for thing in scene.things)}
            for key in keys:
                self._with[key].add(number)

    @property
    def nouns(self) -> list[Noun]:
        """Combinations of colour and shape that texts may name, in a fixed order."""
        every = ((colour, shape) for shape in SHAPES for colour in COLOURS)
        return [noun for noun in every if noun in self.texts.nouns]

    @property
    def shape_pairs(self) -> list[tuple[str, str]]:
        """Shapes whose relation texts may state, in a fixed order."""
        return [pair for pair in permutations(SHAPES, 2) if frozenset(pair) in self.texts.pairs]

    def showing(self, noun: Noun) -> tuple[list[int], list[int], list[int]]:
        """Scenes with exactly one thing of this noun; with at least one; without one, but with its colour or shape."""
        some = self._with[noun]
        one = [i for i in sorted(some) if noun in self.only[i]]
        return one, sorted(some), sorted((self._with[noun[0]] | self._with[noun[1]]) - some)

    def relation(self, scene: int, first: str, second: str) -> dict[str, bool] | None:
        """Which relations hold between the things of two shapes; None unless there is exactly one thing of each."""
        i, j = (self.by_shape[scene].get(shape) for shape in (first, second))
        if i is None or j is None:
            return None
        own = self.scenes[scene]
        return {
            "left of": own.left_of(i, j),
            "right of": own.left_of(j, i),
            "above": own.above(i, j),
            "below": own.above(j, i),
        }


def _facts() -> Facts:
    return defaultdict(lambda: defaultdict(list))


class Kind(NamedTuple):
    """A kind of texts.

    Attributes:
        facts: Its texts with answers and scenes.
        answers: Answers of each set, see :func:`deal`.
        share: Its share in the texts of all kinds.
    """

    facts: Facts
    answers: Sequence[str] | None
    share: float


VALUES: Mapping[str, tuple[str, ...]] = {"size": tuple(SIZES), "texture": TEXTURES, "ground": STUFF}
ASK = {
    "size": "what size is the {}?",
    "texture": "what texture has the {}?",
    "ground": "what is the {} on?",
}
SAY = {"size": "the {} is {}", "texture": "the {} is {}", "ground": "the {} is on {}"}


def question_kinds(described: Described) -> list[Kind]:
    """Questions on existence, attributes, relations; on colours, shapes and numbers where texts may ask for them."""
    exist, related, colour, shape, number = (_facts() for _ in range(5))
    attributes = {name: _facts() for name in VALUES}
    for noun in described.nouns:
        name = " ".join(noun)
        one, some, near = described.showing(noun)
        exist[f"is there {article(name)}?"] = {"yes": some, "no": near}
        for i in one:
            for attribute, value in described.only[i][noun].items():
                attributes[attribute][ASK[attribute].format(name)][value].append(i)
    for first, second in described.shape_pairs:
        for i in range(len(described.scenes)):
            for relation, holds in (described.relation(i, first, second) or {}).items():
                if holds:
                    related[f"is the {first} {relation} the {second}?"]["yes"].append(i)
                    related[f"is the {first} {RELATIONS[relation]} the {second}?"]["no"].append(i)
    kinds = [Kind(exist, ("yes", "no"), 1), Kind(related, ("yes", "no"), 1)]
    kinds += [Kind(attributes[name], values, 1 / 3) for name, values in VALUES.items()]
    if described.texts.ask_parts:
        for i, scene in enumerate(described.scenes):
            for name in SHAPES:
                same = [t for t in scene.things if t.shape == name]
                if len(same) == 1:
                    colour[f"what colour is the {name}?"][same[0].colour].append(i)
                if len(same) < 3:
                    number[f"how many {plural(name)} are there?"][NUMBERS[len(same)] if same else "zero"].append(i)
            for name in COLOURS:
                same = [t for t in scene.things if t.colour == name]
                if len(same) == 1:
                    shape[f"what shape is the {name} thing?"][same[0].shape].append(i)
        kinds += [Kind(facts, None, 1 / 3) for facts in (colour, shape, number)]
    return kinds


def hypothesis_kinds(described: Described) -> list[Kind]:
    """Hypotheses on attributes and relations.

    A picture shows a part of the world. So a hypothesis about a thing that is not in the picture is neutral.
    """
    yes, neutral, no = ENTAILMENT
    related = _facts()
    attributes = {name: _facts() for name in VALUES}
    for noun in described.nouns:
        name = " ".join(noun)
        one, _, near = described.showing(noun)
        for attribute, values in VALUES.items():
            for value in values:
                facts = attributes[attribute][SAY[attribute].format(name, value)]
                facts[neutral] = near
                for i in one:
                    facts[yes if described.only[i][noun][attribute] == value else no].append(i)
    for first, second in described.shape_pairs:
        missing = [i for i, own in enumerate(described.by_shape) if (first in own) != (second in own)]
        for relation, opposite in RELATIONS.items():
            facts = related[f"the {first} is {relation} the {second}"]
            facts[neutral] = missing
            for i in range(len(described.scenes)):
                holds = described.relation(i, first, second)
                if holds and holds[relation]:
                    facts[yes].append(i)
                elif holds and holds[opposite]:
                    facts[no].append(i)
    return [Kind(related, ENTAILMENT, 1), *(Kind(facts, ENTAILMENT, 1 / 3) for facts in attributes.values())]


def picture_kinds(described: Described) -> list[Kind]:
    """Facts about one picture, answered by ``yes`` or ``no``. Statements on two pictures are made from them."""
    nouns, textures, related = (_facts() for _ in range(3))
    for noun in described.nouns:
        name = " ".join(noun)
        one, some, near = described.showing(noun)
        nouns[article(name)] = {"yes": some, "no": near}
        for i in one:
            texture = described.only[i][noun]["texture"]
            for value in TEXTURES:
                textures[article(f"{value} {name}")]["yes" if texture == value else "no"].append(i)
    for first, second in described.shape_pairs:
        for i in range(len(described.scenes)):
            for relation, holds in (described.relation(i, first, second) or {}).items():
                if holds:
                    related[f"{article(first)} {relation} {article(second)}"]["yes"].append(i)
                    related[f"{article(first)} {RELATIONS[relation]} {article(second)}"]["no"].append(i)
    return [Kind(facts, ("yes", "yes", "no"), 1) for facts in (nouns, textures, related)]


def deal(
    facts: Facts, answers: Sequence[str] | None, sets: int, random: np.random.Generator
) -> list[list[tuple[str, str, int]]]:
    """Combine texts with scenes in balanced sets: a set is one text with one scene for each of its answers.

    A scene occurs at most once with a text.

    Args:
        facts: Text -> answer -> scenes with this answer.
        answers: The answers of every set, in this order; an answer may be named several times. None: each answer of the
            text once.
        sets: Number of sets; there are fewer if there are not enough scenes.
        random: Chooses scenes and texts.

    Returns:
        Sets of (text, answer, scene).
    """
    pools: dict[str, tuple[Sequence[str], dict[str, list[int]]]] = {}
    for text, by_answer in facts.items():
        needed = answers or sorted(by_answer)
        pool = {answer: [int(i) for i in random.permutation(by_answer.get(answer, []))] for answer in needed}
        pools[text] = needed, pool
    out: list[list[tuple[str, str, int]]] = []
    while True:
        pools = {
            text: (needed, pool)
            for text, (needed, pool) in pools.items()
            if len(needed) > 1 and all(len(pool[answer]) >= count for answer, count in Counter(needed).items())
        }
        if not pools:
            return out
        for text in [str(t) for t in random.permutation(sorted(pools))]:
            if len(out) == sets:
                return out
            needed, pool = pools[text]
            out.append([(text, answer, pool[answer].pop()) for answer in needed])


def _deal_kinds(kinds: Sequence[Kind], texts: int, random: np.random.Generator) -> list[list[tuple[str, str, int]]]:
    """Balanced sets of all kinds that have texts, in proportion to their shares. See :func:`deal`."""
    present = [kind for kind in kinds if kind.facts]
    whole = sum(kind.share for kind in present)
    out = []
    for kind in present:
        size = len(kind.answers or max(kind.facts.values(), key=len))
        out += deal(kind.facts, kind.answers, round(texts * kind.share / whole / size), random)
    return out


def _shuffled(items: Iterable[T], random: np.random.Generator) -> list[T]:
    listed = list(items)
    return [listed[i] for i in random.permutation(len(listed))]


def questions(scenes: Sequence[Scene], texts: Texts, random: np.random.Generator) -> list[Question]:
    """Questions on scenes; ``texts`` has the combinations that they may contain."""
    sets = _deal_kinds(question_kinds(Described(scenes, texts)), PER_SCENE * len(scenes), random)
    dealt = enumerate(_shuffled(chain.from_iterable(sets), random))
    return [Question(text, (answer,), scene, str(number)) for number, (text, answer, scene) in dealt]


def hypotheses(scenes: Sequence[Scene], texts: Texts, random: np.random.Generator) -> list[Hypothesis]:
    """Hypotheses on scenes."""
    sets = _deal_kinds(hypothesis_kinds(Described(scenes, texts)), PER_SCENE * len(scenes), random)
    dealt = enumerate(_shuffled(chain.from_iterable(sets), random))
    return [Hypothesis(text, label, scene, str(number)) for number, (text, label, scene) in dealt]


FORMS = ("both pictures show {}", "exactly one picture shows {}", "only the left picture shows {}")


def statements(scenes: Sequence[Scene], texts: Texts, random: np.random.Generator) -> list[Statement]:
    """Statements on pairs of scenes. Each sentence has a pair for which it is true and a pair for which it is false.

    For a fact that holds in scenes 0 and 1 and not in scene 2: "both" is true of (0, 1) and false of (0, 2) or (2, 0);
    "exactly one" is the opposite; "only the left" is true of (0, 2) and false of (2, 0).
    """
    out = []
    sets = _deal_kinds(picture_kinds(Described(scenes, texts)), PER_SCENE * len(scenes) * 3 // 2, random)
    for number, ((text, _, shown), (_, _, too), (_, _, without)) in enumerate(sets):
        form = int(random.integers(len(FORMS)))
        both = (shown, too)
        one = (shown, without) if random.integers(2) or form == 2 else (without, shown)
        true, false = ((both, one), (one, both), (one, one[::-1]))[form]
        sentence, name = FORMS[form].format(text), f"scenes-{number}"
        out += [Statement(sentence, True, true, f"{name}-0-0"), Statement(sentence, False, false, f"{name}-1-0")]
    return _shuffled(out, random)
