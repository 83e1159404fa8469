"""Scenes -> questions, hypotheses and statements, every text with each of its answers equally often.

A model that does not look can then do no better than chance: of "what size is the red star?" a third of all occurrences
is answered small, a third medium, a third large. Facts say which scenes give which answer to a text; texts are then
dealt in whole sets, one scene for each answer.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import permutations

import numpy as np

from gshn.data.shapescenes.captions import NUMBERS, article, plural
from gshn.data.shapescenes.compositions import HELD_OUT_ATTRIBUTES, is_held_out_relation
from gshn.data.shapescenes.scene import COLOURS, SHAPES, SIZES, STUFF, TEXTURES, Scene
from gshn.data.texts import ENTAILMENT, Hypothesis, Question, Statement

PER_SCENE = 4
"""Texts of each kind for a scene, on average; fewer where scenes do not suffice."""

Noun = tuple[str, str]
"""Colour and shape."""

Facts = dict[str, dict[str, list[int]]]
"""Text -> answer -> scenes of which it is the answer."""

RELATIONS = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
"""Each with its opposite."""


class Described:
    """What is true of a split's scenes.

    Args:
        scenes: The scenes.
        split: Whose texts are wanted: ``attributes`` and ``relations`` are about held-out compositions only, None is
            about anything, every other split about what is not held out.
    """

    def __init__(self, scenes: Sequence[Scene], split: str | None):
        self.scenes, self.split = scenes, split
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
        """Combinations of colour and shape that texts may name."""
        every = [(colour, shape) for shape in SHAPES for colour in COLOURS]
        if self.split is None:
            return every
        if self.split == "relations":
            return []
        return [noun for noun in every if (noun in HELD_OUT_ATTRIBUTES) == (self.split == "attributes")]

    @property
    def shape_pairs(self) -> list[tuple[str, str]]:
        """Shapes whose relation texts may state."""
        if self.split == "attributes":
            return []
        every = permutations(SHAPES, 2)
        return [
            pair for pair in every if self.split is None or is_held_out_relation(*pair) == (self.split == "relations")
        ]

    @property
    def is_compositional(self) -> bool:
        """Whether texts are about held-out compositions only."""
        return self.split in ("attributes", "relations")

    def showing(self, noun: Noun) -> tuple[list[int], list[int], list[int]]:
        """Scenes with exactly one thing of a noun; scenes with any; scenes with none, but with its colour or shape."""
        some = self._with[noun]
        one = [i for i in sorted(some) if noun in self.only[i]]
        return one, sorted(some), sorted((self._with[noun[0]] | self._with[noun[1]]) - some)

    def relation(self, scene: int, first: str, second: str) -> dict[str, bool] | None:
        """Which relations hold between the only things of two shapes; None where one is missing or not alone."""
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


VALUES: Mapping[str, tuple[str, ...]] = {"size": tuple(SIZES), "texture": TEXTURES, "ground": STUFF}
ASK = {
    "size": "what size is the {}?",
    "texture": "what texture has the {}?",
    "ground": "what is the {} on?",
}
SAY = {"size": "the {} is {}", "texture": "the {} is {}", "ground": "the {} is on {}"}


def question_facts(described: Described) -> list[Facts]:
    """Facts of each kind of question: existence, attributes, relations; colours, shapes and numbers where nothing is
    held out, for the answer would be a held-out composition, which no text says."""
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
    kinds = [exist, related, *attributes.values()]
    if not described.is_compositional:
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
        kinds += [colour, shape, number]
    return kinds


def hypothesis_facts(described: Described) -> list[Facts]:
    """Facts of each kind of hypothesis: attributes and relations.

    A picture shows a part of the world: what is said of a thing that it does not show may be so or not, and is neutral.
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
    return [related, *attributes.values()]


def picture_facts(described: Described) -> list[Facts]:
    """What one picture shows, ``yes`` or ``no``: what statements on two pictures are made of."""
    nouns, sizes, related = (_facts() for _ in range(3))
    for noun in described.nouns:
        name = " ".join(noun)
        one, some, near = described.showing(noun)
        nouns[article(name)] = {"yes": some, "no": near}
        for i in one:
            texture = described.only[i][noun]["texture"]
            for value in TEXTURES:
                sizes[article(f"{value} {name}")]["yes" if texture == value else "no"].append(i)
    for first, second in described.shape_pairs:
        for i in range(len(described.scenes)):
            for relation, holds in (described.relation(i, first, second) or {}).items():
                if holds:
                    related[f"{article(first)} {relation} {article(second)}"]["yes"].append(i)
                    related[f"{article(first)} {RELATIONS[relation]} {article(second)}"]["no"].append(i)
    return [nouns, sizes, related]


def deal(
    facts: Facts, answers: Iterable[str] | None, sets: int, random: np.random.Generator
) -> list[tuple[str, str, int]]:
    """Texts with answers and scenes, each text with each of its answers equally often, and no scene twice with a text.

    Args:
        facts: Which scenes give which answer.
        answers: What every text must be dealt with; where None, every answer that any text of these facts has and that
            most texts have.
        sets: Whole sets (one scene for each answer) that are wanted; fewer are dealt where scenes do not suffice.
        random: Chooses scenes and texts.
    """
    whole = None if answers is None else sorted(answers)
    pools: dict[str, dict[str, list[int]]] = {}
    for text, by_answer in facts.items():
        needed = whole or sorted(by_answer)
        if len(needed) > 1 and all(by_answer.get(answer) for answer in needed):
            pools[text] = {answer: [int(i) for i in random.permutation(by_answer[answer])] for answer in needed}
    out: list[tuple[str, str, int]] = []
    dealt = 0
    while pools and dealt < sets:
        for text in [str(t) for t in random.permutation(sorted(pools))]:
            if dealt == sets:
                break
            out += [(text, answer, scenes.pop()) for answer, scenes in pools[text].items()]
            dealt += 1
            if not all(pools[text].values()):
                del pools[text]
    return out


def _deal_evenly(
    kinds: Sequence[Facts], answers: Sequence[Iterable[str] | None], texts: int, random: np.random.Generator
) -> list[tuple[str, str, int]]:
    """The same number of texts of every kind that has any."""
    present = [(facts, own) for facts, own in zip(kinds, answers, strict=True) if facts]
    out = []
    for facts, own in present:
        size = len(list(own)) if own is not None else max(len(by_answer) for by_answer in facts.values())
        out += deal(facts, own, texts // len(present) // size, random)
    return [out[i] for i in random.permutation(len(out))]


def questions(scenes: Sequence[Scene], split: str | None, random: np.random.Generator) -> list[Question]:
    """Questions on scenes; see :class:`Described` about splits."""
    kinds = question_facts(Described(scenes, split))
    answers: list[Iterable[str] | None] = [("yes", "no"), ("yes", "no"), *VALUES.values()]
    answers += [None] * (len(kinds) - len(answers))
    dealt = _deal_evenly(kinds, answers, PER_SCENE * len(scenes), random)
    return [Question(text, (answer,), scene, str(number)) for number, (text, answer, scene) in enumerate(dealt)]


def hypotheses(scenes: Sequence[Scene], split: str | None, random: np.random.Generator) -> list[Hypothesis]:
    """Hypotheses on scenes."""
    kinds = hypothesis_facts(Described(scenes, split))
    dealt = _deal_evenly(kinds, [ENTAILMENT] * len(kinds), PER_SCENE * len(scenes), random)
    return [Hypothesis(text, label, scene, str(number)) for number, (text, label, scene) in enumerate(dealt)]


FORMS = ("both pictures show {}", "exactly one picture shows {}", "only the left picture shows {}")


def statements(scenes: Sequence[Scene], split: str | None, random: np.random.Generator) -> list[Statement]:
    """Statements on pairs of scenes; each sentence comes with a pair of which it is true and one of which it is not.

    Of a fact that the first two scenes show and the last two do not: "both" is true of (0, 1) and false of (0, 2) or
    (2, 0); "exactly one" the other way round; "only the left" is true of (0, 2) and false of (2, 0).
    """
    kinds = [facts for facts in picture_facts(Described(scenes, split)) if facts]
    sets: list[tuple[Statement, Statement]] = []
    for facts in kinds:
        by_text: dict[str, dict[str, list[int]]] = defaultdict(lambda: {"yes": [], "no": []})
        for text, answer, scene in deal(facts, ("yes", "no"), PER_SCENE * len(scenes) // len(kinds), random):
            by_text[text][answer].append(scene)
        for text, shown in sorted(by_text.items()):
            while len(shown["yes"]) >= 2 and shown["no"]:
                with_1, with_2, without = shown["yes"].pop(), shown["yes"].pop(), shown["no"].pop()
                form = int(random.integers(len(FORMS)))
                both = (with_1, with_2)
                one = (with_1, without) if random.integers(2) or form == 2 else (without, with_1)
                true, false = ((both, one), (one, both), (one, one[::-1]))[form]
                sentence, name = FORMS[form].format(text), f"{split or 'scenes'}-{len(sets)}"
                sets.append(
                    (Statement(sentence, True, true, f"{name}-0-0"), Statement(sentence, False, false, f"{name}-1-0"))
                )
    chosen = [sets[i] for i in random.permutation(len(sets))[: PER_SCENE * len(scenes) // 2]]
    out = [statement for own in chosen for statement in own]
    return [out[i] for i in random.permutation(len(out))]
