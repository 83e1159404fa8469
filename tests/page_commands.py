"""How each command of the site is tested: run as written but smaller, run by another test, or not run and why.

An entry is for the commands that begin with its key; the longest beginning counts. A new command of a page needs an
entry here: a :class:`Run` in ``RUNS`` where it can be run in seconds, and else a line in ``NOT_RUN`` with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Run:
    """How to run a command in an empty folder, and what it has promised."""

    needs: str = ""
    """What the folder has: names of ``PREPARED`` in test_page_commands.py, each with ``:PATH`` where it is put."""
    more: str = ""
    """Options and overrides that are added, to make it small."""
    words: Mapping[str, str] = field(default_factory=dict)
    """Words of the command that others stand for, one or several: sizes, mostly."""
    makes: str = ""
    """Files and folders that are there afterwards, and were not before; besides those of ``--out`` and the like."""
    prints: str = ""
    """A regular expression of what it prints."""
    status: int = 0
    """Its exit status."""
    slow: bool = False
    """Left to make test-slow: it takes more than ten seconds, or is much like another that make test runs."""
    alone: bool = False
    """Runs in a process of its own, because it starts others or is no command of Python."""


# Sizes that make training a matter of seconds: of the model, the features, and the steps.
MODEL = "model.width=16 model.gat.heads=2 model.text.heads=2 model.spiking.steps=2"
SCENES = " ".join(f"data.{kind}.train=8 data.{kind}.test=4" for kind in ("pairs", "questions"))
STEPS = "pretrain.steps=1 pretrain.batch_size=4 finetune.steps=1 finetune.batch_size=4 finetune.rehearsal=2"
TINY = f"{MODEL} {SCENES} {STEPS}"
TASKS = f"{TINY} " + " ".join(f"data.{kind}.train=24 data.{kind}.test=24" for kind in ("hypotheses", "statements"))
GRAPH = "graph.backbone=efficientnet_lite0@64 data.pairs.image_size=64"
WIDTHS = "model.width=32 model.spiking.width=32 model.text.hidden=32"
FEW = "pretrain.steps=2 pretrain.batch_size=2 pretrain.captions=2 pretrain.warmup=1"
SMALL = f"{GRAPH} {WIDTHS} {FEW}"
WORDS = "model.text.encoder=bert model.text.tune=all"
NEW = f"{SMALL} {WORDS}"
ASKED = "data.questions.image_size=64 data.hypotheses.image_size=64 finetune.steps=2 finetune.batch_size=2"
BOTH = f"{NEW} {ASKED}"
QUICK_GRID = "--quick --seeds 1 --variants texts-only --set model.width=16 model.spiking.steps=2"

TRAIN, EVALUATE = "python -m gshn.train ", "python -m gshn.evaluate "
PHOTOGRAPHS = f"{EVALUATE}--checkpoint runs/photographs --task retrieval "
DEFAULT = f"{EVALUATE}--checkpoint runs/default "
TRAINED = "flickr8k photographs:runs/photographs"

RUNS: dict[str, Run] = {
    # Training: README.md, start.md, energy.md, export.md, energy-results.md, reference/commands.md, tasks.md.
    f"{TRAIN}--config smoke --out runs/smoke ": Run(slow=True),
    f"{TRAIN}--out runs/long ": Run(more=TINY.replace("model.spiking.steps=2", ""), slow=True),
    f"{TRAIN}--out runs/twin ": Run(more=TINY.replace("model.spiking.steps=2", ""), slow=True),
    f"{TRAIN}--out runs/quantized ": Run(more=TINY, slow=True),
    f"{TRAIN}--config tour --out runs/energy/T4 ": Run(
        more=TINY.replace("model.spiking.steps=2", ""), prints="retrieval", slow=True
    ),
    f"{TRAIN}--config tasks --out runs/tasks ": Run(more=TASKS.replace("model.spiking.steps=2", ""), prints="nlvr2"),
    # Training on photographs: README.md, own-images.md, data.md, backbones.md, text.md, photographs.md, gpus.md.
    f"{TRAIN}--config photographs --out runs/mine ": Run("captions", f"{SMALL} model.dropout=0"),
    f"{TRAIN}--config photographs --out runs/flickr8k ": Run("flickr8k", NEW),
    f"{TRAIN}--config photographs --out runs/photographs data.pairs.source=flickr8k:DIR ": Run(
        "flickr8k:DIR", NEW, slow=True
    ),
    f"{TRAIN}--config photographs --out runs/photographs data.pairs.source=flickr8k:DIR graph.tune=last:1 ": Run(
        "flickr8k:DIR", NEW, slow=True
    ),
    f"{TRAIN}--config photographs --out runs/text ": Run("flickr8k bert:FOLDER", SMALL),
    f"{TRAIN}--config photographs --out runs/coco data.pairs.source=shards:shards/coco ": Run(
        "shards:shards/coco", f"{WIDTHS} {FEW} {WORDS}"
    ),
    f"{TRAIN}--config photographs --out runs/large chunk=256 ": Run(
        "shards:shards/coco", f"{WIDTHS} {FEW} {WORDS} chunk=1", slow=True
    ),
    f"{TRAIN}--config photographs --processes auto --out runs/coco ": Run("coco", NEW, slow=True),
    f"{TRAIN}--config photographs --out runs/entailment ": Run("flickr8k rows:ROWS", BOTH, prints="entailment"),
    f"{TRAIN}--config photographs_tasks --out runs/tasks ": Run(
        "flickr8k:FLICKR8K rows:ROWS leave_out:LEAVE_OUT daquar:DAQUAR", BOTH, prints="entailment"
    ),
    f"{TRAIN}--init runs/coco --out runs/mine ": Run("captions photographs:runs/coco", FEW),
    f"{TRAIN}data.pairs.segmenter=mask2former ": Run(
        "mask2former:runs/mask2former", TINY, makes="runs/default", slow=True
    ),
    # Several processes: gpus.md.
    "torchrun --nproc_per_node 8 -m gshn.train ": Run(
        "coco", NEW, {"8": "2"}, makes="runs/coco/model.safetensors", slow=True, alone=True
    ),
    "accelerate launch -m gshn.train ": Run("coco", NEW, makes="runs/coco/model.safetensors", slow=True, alone=True),
    "torchrun --nproc-per-node 8 -m gshn.preprocess ": Run(
        "coco", GRAPH, {"8": "2"}, makes="shards/coco/train/index.json", slow=True, alone=True
    ),
    "python -m gshn.preprocess --config photographs --data coco:coco --segmenter superpixels --processes auto ": Run(
        "coco", GRAPH, {"auto": "2"}, makes="shards/coco/train/index.json", slow=True, alone=True
    ),
    # Preprocessing: data.md, own-images.md.
    "python -m gshn.preprocess --config photographs --data coco:coco --segmenter mask2former --weights W ": Run(
        "coco mask2former:W", GRAPH, makes="shards/coco/train/00000.tar shards/coco/test/index.json"
    ),
    "python -m gshn.preprocess --config photographs --data captions:photos/captions.csv ": Run(
        "captions", GRAPH, makes="shards/mine/train/00000.tar shards/mine/test/index.json"
    ),
    # Evaluation: start.md, results.md, export.md, app.md.
    f"{DEFAULT}--task retrieval ": Run("run", slow=True),
    f"{DEFAULT}--task vqa ": Run("run", slow=True),
    f"{EVALUATE}--checkpoint tour --task retrieval ": Run(slow=True),
    f"{EVALUATE}--checkpoint tour --task vqa ": Run(slow=True),
    f"{EVALUATE}--checkpoint runs/tasks --task entailment --split attributes ": Run("tasks:runs/tasks"),
    f"{EVALUATE}--checkpoint runs/tasks --task retrieval --rerank 16 ": Run("tasks:runs/tasks"),
    f"{EVALUATE}--checkpoint runs/ablation/hybrid/0 ": Run("tasks:runs/ablation/hybrid/0", slow=True),
    # Evaluation on photographs: data.md, own-images.md, photographs.md, photographs_tasks.md.
    f"{EVALUATE}--checkpoint runs/flickr8k --task retrieval ": Run("flickr8k coco photographs:runs/flickr8k"),
    f"{EVALUATE}--checkpoint runs/vqa ": Run("vqa2 questions:runs/vqa", prints="answers"),
    f"{EVALUATE}--checkpoint runs/mine ": Run("flickr8k photographs:runs/mine"),
    PHOTOGRAPHS: Run(TRAINED),
    f"{PHOTOGRAPHS}--split val --paths ": Run(TRAINED, prints="r = 0"),
    f"{PHOTOGRAPHS}--paths ": Run(TRAINED, prints="r = 0"),
    f"{PHOTOGRAPHS}--split train+val ": Run(f"{TRAINED} coco:COCO", prints="r = 0"),
    f"{EVALUATE}--checkpoint runs/tasks --task vqa --split val --paths ": Run(
        "flickr8k:FLICKR8K rows:ROWS leave_out:LEAVE_OUT daquar:DAQUAR photographs_tasks:runs/tasks", prints="r0"
    ),
    f"{EVALUATE}--checkpoint runs/tasks --task vqa --paths ": Run(
        "flickr8k:FLICKR8K rows:ROWS leave_out:LEAVE_OUT daquar:DAQUAR photographs_tasks:runs/tasks", prints="r0"
    ),
    f"{EVALUATE}--checkpoint runs/tasks --task entailment --paths ": Run(
        "flickr8k:FLICKR8K rows:ROWS leave_out:LEAVE_OUT daquar:DAQUAR photographs_tasks:runs/tasks", prints="r0"
    ),
    f"{EVALUATE}--checkpoint runs/tasks --task entailment --split val ": Run(
        "flickr8k:FLICKR8K rows:ROWS leave_out:LEAVE_OUT daquar:DAQUAR photographs_tasks:runs/tasks",
        prints="entailment",
        slow=True,
    ),
    "'(cat' ": Run("flickr8k:FLICKR8K rows:ROWS", makes="LEAVE_OUT", alone=True),
    # Explanation, search, segments: own-images.md, app.md, start.md, stl.md, segmenters.md, results.md.
    "python -m gshn.explain photos/a.jpg ": Run("photos"),
    "python -m gshn.explain photos/dog.jpg ": Run("captions photographs:runs/mine", prints="similarity"),
    "python -m gshn.explain --index 7 --split test --checkpoint runs/default ": Run("run"),
    "python -m gshn.explain --index 7 --split test --checkpoint tour ": Run(),
    "python -m gshn.search ": Run("photos run:runs/mine", prints=r"photos/[ab]\.jpg"),
    "python -m gshn.segment photos ": Run("photos", makes="segmented/panoptic.json segmented/panoptic/*.png"),
    "python -m gshn.segment --fit ": Run(more="--steps 1 --limit 2", prints="weights: runs/mask2former", slow=True),
    "python -m gshn.segment --evaluate ": Run("mask2former:runs/mask2former", "--limit 2", prints="2 held-out scenes"),
    # The ablation: results.md, tasks.md, ablation.md, photographs.md, CONTRIBUTING.md.
    "python -m gshn.ablate --report ": Run("results rows_of_a_grid:runs/ablation"),
    "python -m gshn.ablate --quick ": Run(more=QUICK_GRID, makes="runs/ablation/ablation-validation.md", slow=True),
    "python -m gshn.ablate --jobs 2 ": Run("results", QUICK_GRID, prints="entailment, %", slow=True),
    "python -m gshn.ablate --grid photographs ": Run(
        "flickr8k:DIR",
        "--quick --seeds 1 --variants pooled",
        {"data.pairs.source=flickr8k:DIR": f"data.pairs.source=flickr8k:DIR {GRAPH} {WORDS}"},
        prints="retrieval",
        slow=True,
    ),
    # NIR files: README.md, nir.md, c.md, export.md, energy.md.
    "python -m neuromorphic.run ": Run("network"),
    "python -m neuromorphic.verify ": Run("network", prints="spikes equal"),
    "python -m neuromorphic.check ": Run("network", prints="fits Loihi 2: 1 of"),
    "python -m neuromorphic.profile --nir ": Run("network", makes="profiled/report.html"),
    "python -m neuromorphic.profile --checkpoint runs/default --out runs/default/profile ": Run("run", slow=True),
    "python -m neuromorphic.profile --checkpoint runs/default --out compared ": Run("run twin:runs/twin", slow=True),
    "python -m neuromorphic.export --to nir --checkpoint ": Run("run"),
    "python -m neuromorphic.export --to nir --nir ": Run("network theirs"),
    "python -m neuromorphic.export --to c ": Run("network", makes="in_c/model.c in_c/model_test.c"),
    "python -m neuromorphic.export --to lava ": Run("run network", slow=True),
    "python -m neuromorphic.export --to netx ": Run("run", slow=True),
    # Golden graphs: conformance.md. Back ends of ours stand for the frameworks, which make test-peers asks.
    "python -m neuromorphic.conformance --list ": Run(prints="lif_all"),
    "python -m neuromorphic.conformance --write ": Run(slow=True),
    "python -m neuromorphic.conformance --simulator sinabs ": Run(
        words={"sinabs": "c"}, more="--graphs primitives", prints="agree"
    ),
    "python -m neuromorphic.conformance --simulator norse ": Run(words={"norse": "numpy"}, prints="all agree|agree"),
    "python -m neuromorphic.conformance --simulator mine.py:run ": Run(
        "simulator:mine.py", "--graphs lif_all", prints="agree"
    ),
    "python -m neuromorphic.conformance --outputs ": Run("outputs:mine", "--graphs lif_all", prints="agree"),
    # What is installed: README.md, start.md, environments.md.
    "python -m neuromorphic.doctor --probe ": Run(prints="Lava|lava"),
    "eval '$(gshn --print-completion ": Run(more="; complete -p gshn", prints="complete .* gshn", alone=True),
    "eval '$(neuromorphic --print-completion ": Run(
        more="; complete -p neuromorphic", prints="complete .* neuromorphic", alone=True
    ),
    # Benchmarks: CONTRIBUTING.md, c.md, speed.md, segmenters.md, photographs_tasks.md.
    "python -m benchmarks.coco --help ": Run(prints="--train DIR"),
    "python -m benchmarks.coco --write ": Run(more="--images 300", makes="DIR/train/index.json"),
    "OMP_NUM_THREADS=1 python -m benchmarks.coco --train ": Run(
        "made_up:DIR", prints="have the same numbers", slow=True, alone=True
    ),
    "OMP_NUM_THREADS=1 python -m benchmarks.coco --ask ": Run(
        "made_up:DIR", prints=r"questions, 520 images", slow=True, alone=True
    ),
    "python -m benchmarks.superpixels ": Run("photos:FOLDER", prints="1 of 1 photographs have the same regions"),
    "OMP_NUM_THREADS=1 python -m benchmarks.superpixels ": Run(
        "photos:FOLDER", prints="1 of 1 photographs have the same regions"
    ),
    "python -m benchmarks.preprocessing ": Run(
        more="--images 8 --shard-size 4", prints="writing, 2 process.* images/s", slow=True, alone=True
    ),
    "python -m benchmarks.lava_steps ": Run(more="--rounds 1 --images 2", prints="ours", slow=True, alone=True),
    "python -m benchmarks.batch ": Run(
        more="--batch 2 --steps 4 --only torch 'folded float' 'c fixed'", prints="torch", slow=True, alone=True
    ),
    "python -m benchmarks.c_backend ": Run(words={"3": "1"}, prints="planned anew", slow=True, alone=True),
    "python -m benchmarks.sessions ": Run(words={"64": "8", "3": "1"}, prints="same graph", slow=True, alone=True),
    "OMP_NUM_THREADS=1 python -m benchmarks.retrieval ": Run(
        more="--share 0.002", prints="Recall@K both ways", slow=True, alone=True
    ),
    "OMP_NUM_THREADS=1 python -m benchmarks.retrieval --batch 512 ": Run(
        words={"512": "4"}, prints="contrast of 4 pairs", slow=True, alone=True
    ),
    "OMP_NUM_THREADS=1 python -m benchmarks.text ": Run(
        "flickr8k:DIR", f"{GRAPH} {WIDTHS} pretrain.batch_size=2", prints="images/s", slow=True, alone=True
    ),
    "python -m benchmarks.segmenters ": Run("coco semantic:deeplabv3", prints="superpixels", slow=True, alone=True),
    "python -m benchmarks --only ": Run(makes="FILE", slow=True, alone=True),
    "python -m benchmarks.photographs_tasks ": Run(
        "page_of_tables flickr8k:FLICKR8K rows:ROWS leave_out:LEAVE_OUT daquar:DAQUAR",
        f"{BOTH} --seeds 1 --variants hybrid",
        slow=True,
        alone=True,
    ),
    "python -m benchmarks.nyu_segments ": Run(
        "page_of_tables flickr8k:data/flickr8k nyu:DAQUAR semantic:DEEPLAB",
        f"{NEW} data.questions.image_size=64 finetune.steps=2 finetune.batch_size=2 "
        "--folds 1 --variants annotated semantic",
        makes="docs/results/nyu_segments.jsonl",
        slow=True,
        alone=True,
    ),
    "benchmarks/gpu.sh --out gpu --device cpu --quick ": Run(
        "scripts", more="--only scenes", makes="gpu/gpu.json gpu/gpu.md", slow=True, alone=True
    ),
    # Targets of the Makefile that install nothing: CONTRIBUTING.md, releasing.md, README.md.
    "make lint ": Run("project", "-o setup", prints="Success: no issues", alone=True),
    "make format ": Run("unformatted", "-o setup", prints="1 file reformatted", alone=True),
    "make test ": Run("project", "-o setup", prints="1 passed", slow=True, alone=True),
    "make test-slow ": Run("project", "-o setup", prints="1 passed, 2 deselected", alone=True),
    "make train ": Run("makefile", "-o setup PYTHON=./smaller", makes="runs/default", slow=True, alone=True),
    "make tour ": Run(
        "makefile", "-o setup PYTHON=./smaller PYTHONPATH=.", makes="gshn/checkpoints/tour", slow=True, alone=True
    ),
}

# Commands that another test runs, as the page has them.
ELSEWHERE: dict[str, str] = {
    "make help ": "tests/test_docs.py::test_the_makefile_lists_its_targets",
    "cc -std=c99 ": "tests/neuromorphic/c/test_c_export.py::test_the_guide",
    "./model_test ": "tests/neuromorphic/c/test_c_export.py::test_the_guide",
    "./main ": "tests/neuromorphic/c/test_c_export.py::test_the_guide",
    "python -m gshn.train --config smoke --out runs/five ": (
        "tests/test_extending.py::test_all_five_are_trained_with_together"
    ),
    "python -m neuromorphic.doctor --install lava ": "tests/test_install.py::test_plain_pip_in_a_fresh_environment",
    "python -m gshn.app ": "tests/gshn/browser/test_page.py::test_a_drawn_scene_takes_one_button",
}

NETWORK = "installs packages from a registry"
# Commands that no test runs, and why; test_docs.py checks their options, targets, extras and files.
NOT_RUN: dict[str, str] = {
    "pip install ": f"{NETWORK}; test_install.py installs the wheel and Lava so (make test-slow)",
    "source .venv/bin/activate ": "changes the shell that it is typed in",
    "git clone https://": "needs the network",
    "DETECTRON2=detectron2 make test-peers ": f"{NETWORK}, and builds Detectron2 from its source",
    "python -m pytest tests/peers/test_panoptic_fpn.py ": "needs the environment that make test-peers builds",
    "python -m gshn.app --checkpoint runs/mine --open ": "opens the desktop's browser; make test-app starts the page",
    "make setup ": NETWORK,
    "make test-app ": f"{NETWORK}, and needs Chromium",
    "make test-peers ": f"{NETWORK}: every framework's",
    "make test-versions ": f"{NETWORK}: every version's",
    "make bench ": f"{NETWORK}: the peers'; then runs for an hour",
    "make docs ": f"{NETWORK}; CI builds the site in each of its runs",
    "make links ": "needs the network: it follows external links",
    "make dist ": f"{NETWORK}; test_install.py builds the wheel (make test-slow)",
    "benchmarks/gpu.sh ": "needs an NVIDIA GPU; with --device cpu --quick it is run",
    "srun torchrun ": "needs Slurm and several machines with GPUs",
}
