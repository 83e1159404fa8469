import json

import numpy as np
import official
import pytest
import torch
from torch_geometric.data import Batch

from gshn.config import load_config
from gshn.data.easyvqa import EasyVQA
from gshn.encoders.text import TextCount
from gshn.encoders.text_encoders import build_tokenizer
from gshn.errors import ConfigError, DataError
from gshn.evaluation.answers import answer_all, evaluate_task
from gshn.evaluation.retrieval import evaluate_retrieval
from gshn.graphs.scene_graph import GEOMETRY, node_map
from gshn.graphs.shards.stream import StreamedGraphs
from gshn.inference import SpikeCount
from gshn.segments.superpixels import SuperpixelSegmenter
from gshn.training.corpora import Corpora, build_model, word_frequencies


def corpora(tmp_path, *overrides):
    overrides = [f"data.cache={tmp_path / 'cache'}", "finetune.tasks=[]", *overrides]
    return Corpora(load_config("smoke", ["data.pairs.train=null", "data.pairs.test=null", *overrides]))


SCENES = [f"data.{name}.{split}=4" for name in ("pairs", "hypotheses") for split in ("train", "test")]


def test_data_sets_and_segmenters_have_the_keys_of_older_caches(tmp_path):
    data = corpora(tmp_path, *SCENES, "data.questions.train=4")
    images = data.images("train", 4)
    assert images.key == "shapescenes 1 train seed=0 size=96"
    assert data.segmenter_of(images).key.startswith("ground-truth:1=circle*,2=")
    questions = data.task_images("vqa", "train", 4)
    assert questions.key == "easy-vqa 1.0 train"
    found = data.segmenter(data.config.data.questions, questions.categories).key
    assert found.startswith(
        "SuperpixelSegmenter(SuperpixelParameters(scale=30.0, merge_distance=10.0, min_area=0.002)) sci"
    )
    held_out = corpora(tmp_path, *SCENES, "data.pairs.source=shapescenes-compositions").images("test", 4)
    assert held_out.key.startswith("shapescenes 1 compositions ")


def test_a_data_set_may_say_what_its_questions_can_be_answered_with(tmp_path):
    data = corpora(tmp_path, *SCENES, "finetune.tasks=[vqa]", "data.questions.train=2")
    assert len(data.texts("vqa").examples) < 13 * 2
    assert data.answers == {"vqa": EasyVQA.answers()} and len(data.answers["vqa"]) == 13


def flickr(tmp_path, *overrides):
    root = official.flickr8k(tmp_path / "flickr", count=6)
    return corpora(tmp_path, f"data.pairs.source=flickr8k:{root}", "data.pairs.segmenter=superpixels", *overrides)


def test_a_number_of_segments_reaches_every_segmenter(tmp_path):
    parts = ("pairs", "questions", "hypotheses", "statements")
    given = [f"data.{part}.{each}" for part in parts for each in ("segments=7", "segmenter=superpixels")]
    data = flickr(tmp_path, *given)
    for part in parts:
        assert data.segmenter(getattr(data.config.data, part), ()).key == SuperpixelSegmenter(count=7).key


def test_a_broken_photograph_is_left_out_with_its_captions(tmp_path, caplog):
    data = flickr(tmp_path)
    (tmp_path / "flickr/Flicker8k_Dataset/1001_ab1.jpg").write_bytes(b"\xff\xd8cut")
    pairs = data.pairs
    assert len(pairs) == len(pairs.graphs) == 3
    assert [captions[0] for captions in pairs.captions()] == [f"A dog number {i} , view 0 ." for i in (0, 2, 3)]
    assert [name[-8:-4] for name in pairs.names] == ["_ab0", "_ab2", "_ab3"]
    assert "1001_ab1.jpg" in caplog.text and "it is left out" in caplog.text
    graphs, captions, _ = pairs.fetch([1])
    assert captions[0][4] == "A dog number 2 , view 4 ."
    torch.testing.assert_close(graphs.x, pairs.graphs[1].x)


def test_photographs_that_are_left_out_of_pretraining(tmp_path, caplog):
    names = official.write(tmp_path / "leave.txt", "1000_ab0.jpg\nFlicker8k_Dataset/1002_ab2\n\n77.jpg\n1005_ab5.jpg\n")
    whole, data = flickr(tmp_path), flickr(tmp_path, f"data.pairs.leave_out={names}")
    data.check_overlap()
    assert f"{names}: 2 of 4 names match no training image, e.g. 1005_ab5.jpg" in caplog.text
    assert len(whole.pairs) == 4 and [own[0] for own in data.pairs.captions()] == [
        "A dog number 1 , view 0 .",
        "A dog number 3 , view 0 .",
    ]
    folders = {path for path in (tmp_path / "cache").iterdir() if path.is_dir()}
    assert len(folders) == 1, "the graphs of all are kept once"
    for index, own in enumerate((1, 3)):
        torch.testing.assert_close(data.pairs.graphs[index].x, whole.pairs.graphs[own].x)
    torch.testing.assert_close(data.pairs.moments[0], data.pairs.graphs.x.mean(dim=0))
    assert len(data.test_pairs) == 1, "1005_ab5.jpg is tested on all the same"
    assert "number 0" not in "".join(data.training_texts())


def test_photographs_that_are_left_out_are_not_trained_on_by_a_task_either(tmp_path, caplog):
    for split in ("train", "dev", "test"):
        official.snli_ve(tmp_path / "ve", split)
    names = official.write(tmp_path / "leave.txt", "1000_ab0.jpg\n100\n")
    task = ["finetune.tasks=[entailment]", f"data.hypotheses.source=snli-ve:{tmp_path / 've'}"]
    with pytest.raises(DataError, match=r"2 of the 2 pictures of data.hypotheses .*, test\) are in .*, train\) too"):
        flickr(tmp_path, *task).check_overlap()
    data = flickr(tmp_path, *task, f"data.pairs.leave_out={names}")
    with pytest.raises(DataError, match=r"1 of the 2 pictures of data.hypotheses .*/101.jpg"):
        data.check_overlap()
    assert "no training image" not in caplog.text, "each name is of a picture of one source"
    assert [example.text for example in data.texts("entailment").examples] == ["Somebody rests 4.", "Somebody rests 5."]
    assert len(data.test_texts("entailment").graphs) == 2 and len(data.pairs) == 3


def test_a_list_that_leaves_nothing(tmp_path):
    names = official.write(tmp_path / "leave.txt", "\n".join(f"{1000 + i}_ab{i}" for i in range(6)))
    with pytest.raises(DataError, match=r"leave.txt has all images \(4\): none is left to train on"):
        flickr(tmp_path, f"data.pairs.leave_out={names}").check_overlap()
    with pytest.raises(DataError, match=r"leave.txt has all images of .*: none is left to train on"):
        _ = flickr(tmp_path, f"data.pairs.leave_out={names}").pairs
    with pytest.raises(DataError, match=r"nowhere.txt is missing"):
        flickr(tmp_path, f"data.pairs.leave_out={tmp_path / 'nowhere.txt'}").check_overlap()
    with pytest.raises(ConfigError, match=r"'data.pairs.leave_out' is 'a.txt': drawn scenes have no names"):
        corpora(tmp_path, "data.pairs.train=4", "data.pairs.test=4", "data.pairs.leave_out=a.txt")
    with pytest.raises(ConfigError, match=r"'data.hypotheses.images' is 'a': null, or data.hypotheses.source=snli-ve"):
        corpora(tmp_path, *SCENES, "data.hypotheses.images=a", "data.hypotheses.source=shapescenes")


def test_a_broken_first_photograph_does_not_end_the_others(tmp_path, caplog):
    """A trainable backbone needs images of one size: that of the first which can be read."""
    data = flickr(tmp_path, "graph.backbone=small_conv")
    (tmp_path / "flickr/Flicker8k_Dataset/1000_ab0.jpg").write_bytes(b"\xff\xd8cut")
    assert len(data.pairs) == 3
    assert "1000_ab0.jpg" in caplog.text and "it is left out" in caplog.text


def test_no_photograph_can_be_used(tmp_path):
    data = flickr(tmp_path)
    for path in (tmp_path / "flickr/Flicker8k_Dataset").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"no image could be used, the first because: .*1000_ab0.jpg is not an image"):
        _ = data.pairs


def test_masks_boxes_and_patches(tmp_path):
    root = official.coco(tmp_path / "coco")
    found = {}
    for regions in ("masks", "boxes", "patches"):
        data = corpora(tmp_path, f"data.pairs.source=coco:{root}", f"graph.regions={regions}", "graph.patches=3")
        found[regions] = data.test_pairs.graphs[0]
        expected = ["region"] if regions == "patches" else ["cat", "grass-merged", "region"]
        assert data.categories == expected
    assert [graph.num_nodes for graph in found.values()] == [2, 2, 9]
    area = {name: graph.geometry[:, GEOMETRY.index("area")].tolist() for name, graph in found.items()}
    assert area["masks"] == pytest.approx([100 / 1200, 1099 / 1200])
    assert area["boxes"] == pytest.approx([100 / 1200, 1]) and sum(area["patches"]) == pytest.approx(1)
    same = torch.isclose(found["masks"].x, found["boxes"].x).all(dim=1)
    assert same.tolist() == [True, False], "the cat is its box; the box of the grass has the cat in it"


@pytest.mark.parametrize("backbone", ["efficientnet_lite0", "small_conv"])
@pytest.mark.parametrize("regions", ["boxes", "patches"])
def test_a_model_trains_on_either(tmp_path, backbone, regions):
    root = official.coco(tmp_path / "coco", "train")
    official.coco(tmp_path / "coco", "val")
    data = corpora(tmp_path, f"data.pairs.source=coco:{root}", f"graph.regions={regions}", f"graph.backbone={backbone}")
    model = build_model(data.config, data)
    graphs, _, _ = data.pairs.fetch([0, 1])
    encoded = model.encode_graphs(graphs)
    assert encoded.num_graphs == 2 and torch.isfinite(encoded.nodes).all()
    # The prediction of words starts at how many of the captions have each.
    captions = [set(ids) for own in data.pairs.captions() for ids in model.tokenizer(own)["input_ids"]]
    words = model.vocabulary.words
    frequencies = torch.tensor([sum(word in ids for ids in captions) / len(captions) for word in words])
    torch.testing.assert_close(model.stl.words[1].bias.detach(), torch.logit(frequencies, eps=1e-4))


@pytest.mark.parametrize(
    ("backbone", "regions"), [("small_conv", "masks"), ("efficientnet_lite0@48+efficientnet_lite0", "patches")]
)
def test_a_model_has_nodes_for_whole_images(tmp_path, backbone, regions):
    root = official.coco(tmp_path / "coco", "train")
    official.coco(tmp_path / "coco", "val")
    keys = [f"graph.backbone={backbone}", f"graph.regions={regions}", "graph.levels=[4,8]", "graph.pooling=bilinear"]
    data = corpora(tmp_path, f"data.pairs.source=coco:{root}", "graph.whole_image=true", *keys)
    model = build_model(data.config, data)
    graphs, _, _ = data.pairs.fetch([0, 1])
    assert "image" in data.categories and data.categories == model.vocabulary.categories
    assert graphs.category[graphs.whole].tolist() == 2 * [data.categories.index("image")]
    encoded = model.eval().encode_graphs(graphs)
    assert torch.isfinite(encoded.nodes).all()
    images = data.images("train", None)
    own = Corpora(data.config, model.vocabulary)
    (alone,), (sample,) = own.graphs_of([images[0]], data.segmenter_of(images))
    assert alone.num_nodes == int(graphs.ptr[1])
    shown = node_map(sample.panoptic, own.graph_parameters)
    assert set(np.unique(shown).tolist()) - {-1} == set(range(1, alone.num_nodes))
    nodes = model.node_inputs(Batch.from_data_list([alone])).x
    torch.testing.assert_close(nodes, model.node_inputs(graphs).x[: len(nodes)], rtol=1e-4, atol=1e-4)


def test_frequencies_of_words_count_captions_as_often_as_they_are_chosen():
    tokenizer = build_tokenizer("bert", ["a red star", "a star", "a ring"], 20)
    images = [["a red star", "a star"], ["a ring", "ring ring"]]
    found = word_frequencies(TextCount(tokenizer), images, [3.0, 1.0])
    names = {tokenizer.convert_ids_to_tokens(token): share for token, share in found.items()}
    assert names == pytest.approx({"a": (1 + 0.75) / 2, "red": 0.375, "star": 0.5, "ring": 0.5})
    assert word_frequencies(TextCount(tokenizer), images, None)[tokenizer.convert_tokens_to_ids("red")] == 0.25


def test_answers_of_vqa_v2_come_from_its_training_questions(tmp_path):
    root = official.vqa2(tmp_path / "vqa")
    official.vqa2(root, "val", numbers=(42,))
    data = corpora(
        tmp_path,
        f"data.questions.source=vqa2:{root}",
        "finetune.tasks=[vqa]",
        "data.pairs.source=shapescenes",
        "data.pairs.train=4",
        "data.pairs.test=4",
        "data.questions.train=null",
        "data.questions.test=null",
    )
    assert data.answers == {"vqa": ["net"]}
    assert len(data.texts("vqa")) == 4 and len(data.test_texts("vqa")) == 2
    assert build_model(data.config, data).vocabulary.answers == {"vqa": ["net"]}


def test_graphs_of_a_large_task_are_streamed(tmp_path, monkeypatch):
    root = official.vqa2(tmp_path / "vqa", numbers=(9, 25, 31))
    keys = (f"data.questions.source=vqa2:{root}", "finetune.tasks=[vqa]", "data.pairs.source=shapescenes")
    keys += ("data.pairs.train=4", "data.pairs.test=4", "data.questions.train=null")
    held = corpora(tmp_path, *keys).texts("vqa")
    monkeypatch.setattr("gshn.training.corpora.STREAMED", 0)
    data = corpora(tmp_path, *keys)
    streamed = data.texts("vqa")
    assert isinstance(streamed.graphs, StreamedGraphs) and streamed.examples == held.examples
    assert torch.equal(streamed.graphs.batch([2, 0]).x, held.graphs.batch([2, 0]).x)
    assert sorted(streamed.order(np.random.default_rng(0))) == list(range(6))
    model = build_model(data.config, data).eval()
    answers = [answer_all(model, corpus, SpikeCount()) for corpus in (streamed, held)]
    assert answers[0] == answers[1]


def test_questions_without_a_known_answer_are_counted(tmp_path, caplog):
    root = official.vqa2(tmp_path / "vqa", numbers=(9, 25, 31))
    path = root / "v2_mscoco_train2014_annotations.json"
    content = json.loads(path.read_text())
    for entry, answer in zip(content["annotations"], ["red", "red", "red", "blue", "blue", "green"], strict=True):
        for number, given in enumerate(entry["answers"]):
            given["answer"] = answer if number else "grey"
    official.write(path, content)
    scenes = ("data.pairs.source=shapescenes", "data.pairs.train=4", "data.pairs.test=4", "data.questions.train=null")
    questions = (f"data.questions.source=vqa2:{root}", "finetune.tasks=[vqa]", "data.questions.answers=2")
    data = corpora(tmp_path, *scenes, *questions)
    assert data.answers == {"vqa": ["red", "blue"]}
    told = "data.questions: 1 of 6 training questions has no answer among the 2 of the vocabulary"
    assert told in caplog.text
    for entry in content["annotations"]:
        entry["answers"] = []
    official.write(path, content)
    with pytest.raises(ConfigError, match="no training question has an answer"):
        _ = corpora(tmp_path, *scenes, *questions).answers


def test_what_is_not_read_of_texts_is_told(tmp_path, caplog):
    data = flickr(tmp_path, "model.text.max_length=8")
    model = build_model(data.config, data)
    # [CLS] a dog number 0 , view [SEP]: the number of the view and the full stop are cut.
    assert "training captions: 20 of 20 texts are longer than 8 tokens (model.text.max_length) and cut" in caplog.text
    evaluate_retrieval(model, data.test_pairs, SpikeCount())
    # "5" is in no training caption; 6 of the 8 tokens are words.
    assert "captions: 5 of 30 words (16.67%) are unknown to the model, e.g. '5'" in caplog.text


def test_captions_of_ones_own(tmp_path):
    root = official.flickr8k(tmp_path / "flickr", count=6)
    rows = [
        f"Flicker8k_Dataset/{1000 + i}_ab{i}.jpg,dog {i},{s}" for i, s in enumerate(["train"] * 4 + ["val", "test"])
    ]
    path = official.write(root / "mine.csv", "\n".join(["image,caption,split", *rows]))
    data = corpora(tmp_path, f"data.pairs.source=captions:{path}", "data.pairs.segmenter=superpixels")
    data.check_overlap()
    assert list(data.pairs.captions()) == [[f"dog {i}"] for i in range(4)]
    assert list(data.test_pairs.captions()) == [["dog 5"]] and len(data.test_pairs.graphs) == 1
    official.write(
        path, "\n".join(["image,caption,split", *rows, rows[0].replace("_ab0", "_ab6").replace("train", "test")])
    )
    (root / "Flicker8k_Dataset/1000_ab6.jpg").write_bytes((root / "Flicker8k_Dataset/1000_ab0.jpg").read_bytes())
    with pytest.raises(DataError, match=r"1 of the 2 pictures of data.pairs .* as .*1000_ab0.jpg"):
        corpora(tmp_path, f"data.pairs.source=captions:{path}", "data.pairs.segmenter=superpixels").check_overlap()


def test_a_model_for_photographs_with_hypotheses_and_statements(tmp_path):
    for split in ("train", "test"):
        official.snli_ve(tmp_path / "ve", split)
        official.nlvr2(tmp_path / "nlvr2", {"test": "test1"}.get(split, split))
    data = corpora(
        tmp_path,
        f"data.hypotheses.source=snli-ve:{tmp_path / 've'}",
        f"data.statements.source=nlvr2:{tmp_path / 'nlvr2'}",
        "finetune.tasks=[entailment,nlvr2]",
        "data.pairs.train=4",
        "data.pairs.test=4",
    )
    assert data.answers == {"entailment": ["entailment", "neutral", "contradiction"], "nlvr2": ["false", "true"]}
    model = build_model(data.config, data).eval()
    for task, known in (("entailment", 5), ("nlvr2", 3)):
        corpus = data.test_texts(task)
        figures = evaluate_task(model, corpus, SpikeCount())
        assert len(corpus) == known and 0 <= figures[f"{task}.accuracy"] <= 1
    assert data.texts("nlvr2").examples[2].images == (4, 5)
    assert {model.tokenizer.unk_token_id} & set(model.tokenizer("Somebody rests bottles")["input_ids"]) == set()
    with pytest.raises(ConfigError, match="SNLI-VE has no split 'attributes'"):
        data.test_texts("entailment", "attributes")


def test_blind_data(tmp_path):
    scenes = [f"data.{name}.train=120" for name in ("pairs", "questions", "statements")]
    scenes += [f"data.{name}.source=shapescenes" for name in ("questions", "statements")]
    scenes += [f"data.{name}.segmenter=ground-truth" for name in ("questions", "statements")]
    scenes += ["data.pairs.test=4", "data.questions.test=4", "data.statements.test=4", "finetune.tasks=[vqa,nlvr2]"]
    scenes += ["graph.backbone=small_conv"]
    both, texts, images = (corpora(tmp_path, *scenes, f"data.show={show}") for show in ("both", "texts", "images"))
    for task in ("vqa", "nlvr2"):
        all_images = [example.images for example in both.texts(task).examples]
        assert len(set(all_images)) > 20 and len({example.text for example in both.texts(task).examples}) > 20
        assert {image for e in texts.texts(task).examples for image in e.images} == {0}
        assert [e.text for e in texts.texts(task).examples] == [e.text for e in both.texts(task).examples]
        assert {e.text for e in images.texts(task).examples} == {""}
        assert [e.images for e in images.texts(task).examples] == all_images
    assert {caption for own in images.pairs.captions() for caption in own} == {""}
    one = set(texts.pairs.graphs.digests.tolist())
    assert len(one) == 1 and set(texts.test_pairs.graphs.digests.tolist()) == one, "tested with what was trained with"
    for task in ("vqa", "nlvr2"):
        tested = texts.test_texts(task)
        assert {image for example in tested.examples for image in example.images} == {0}
        assert tested.graphs.digests[0] == texts.texts(task).graphs.digests[0]
    shown, blind = both.pairs.graphs, texts.pairs.graphs
    assert len(blind) == len(shown) == 120 and texts.pairs.captions() == both.pairs.captions()
    for index in (0, 7, 119):
        for name, values in shown[0]:
            assert torch.equal(torch.as_tensor(blind[index][name]), torch.as_tensor(values)), name
    with pytest.raises(ConfigError, match=r"'data.show' is 'texts': shards are read as they are"):
        _ = corpora(tmp_path, "data.pairs.source=shards:anywhere", "data.show=texts").pairs
    few = corpora(tmp_path, *scenes, "data.statements.train=2")
    with pytest.raises(ConfigError, match="shapescenes: no statements on the 2 train images; raise"):
        few.texts("nlvr2")


def test_what_does_not_fit(tmp_path):
    root = official.vqa2(tmp_path / "vqa")
    pairs = corpora(tmp_path, f"data.pairs.source=vqa2:{root}", "data.pairs.segmenter=superpixels")
    with pytest.raises(ConfigError, match="which has no captions"):
        _ = pairs.pairs
    photographs = official.flickr8k(tmp_path / "flickr")
    scenes = ("data.pairs.train=4", "data.pairs.test=4")
    questions = corpora(tmp_path, f"data.questions.source=flickr8k:{photographs}", "finetune.tasks=[vqa]", *scenes)
    with pytest.raises(ConfigError, match="which has no questions; use vqa2:DIR"):
        questions.texts("vqa")
    truth = corpora(tmp_path, f"data.pairs.source=flickr8k:{photographs}")
    with pytest.raises(ConfigError, match="no panoptic annotation to take as ground truth"):
        _ = truth.pairs
    with pytest.raises(ConfigError, match=r"data.pairs.weights.*mask2former needs weights"):
        corpora(tmp_path, "data.pairs.segmenter=mask2former", *scenes)
    with pytest.raises(DataError, match=r"has no index.json: name a folder that gshn.preprocess has finished"):
        _ = corpora(tmp_path, f"data.pairs.source=shards:{tmp_path / 'none'}").pairs


@pytest.mark.parametrize("regions", ["masks", "boxes", "patches"])
def test_the_graph_of_one_image_is_the_corpuss(tmp_path, regions):
    data = flickr(tmp_path, f"graph.regions={regions}")
    images, graphs = data.images("test", 1), data.test_pairs.graphs
    (graph,), (sample,) = data.graphs_of([images[0]], data.segmenter_of(images))
    assert torch.equal(graph.category, graphs[0].category) and torch.equal(graph.edge_index, graphs[0].edge_index)
    torch.testing.assert_close(graph.geometry, graphs[0].geometry)
    torch.testing.assert_close(graph.x, graphs[0].x, atol=1e-3, rtol=1e-3)
    if regions != "boxes":
        shown = torch.from_numpy(node_map(sample.panoptic, data.graph_parameters)).flatten()
        area = torch.bincount(shown[shown >= 0]) / len(shown)
        torch.testing.assert_close(area, graph.geometry[:, GEOMETRY.index("area")], atol=1e-6, rtol=0)


def test_categories_of_one_graph_count_within_the_models(tmp_path):
    data = corpora(tmp_path, "data.pairs.train=4", "data.pairs.test=3", "finetune.tasks=[vqa]")
    data.categories.reverse()  # the model knows them in another order
    images = data.images("test", 3)
    (graph,), _ = data.graphs_of([images[2]], data.segmenter_of(images))
    assert torch.equal(graph.category, data.test_pairs.graphs[2].category)
    named = {data.categories[category] for category in graph.category.tolist()}
    assert named >= {thing.shape for thing in images.scenes[2].things}
