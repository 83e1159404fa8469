import torch
from helpers import CAPTIONS, pair_batch, random_graph, tiny_config, tiny_model
from torch_geometric.data import Batch

from gshn.training.objective import Objective

OVERRIDES = [
    "model.encoder=transformer",
    "model.transformer.heads=2",
    "model.similarity=whole",
    *(f"objectives.{name}=0" for name in ("spike_contrast", "stl_contrast", "stl_words", "mlm", "itm", "firing_rate")),
]


def test_graphs_do_not_see_each_other_nor_their_edges():
    model = tiny_model(tiny_config(*OVERRIDES)).eval()
    graphs = [random_graph(nodes, nodes) for nodes in (2, 5, 3)]
    together = model.encode_graphs(Batch.from_data_list(graphs))
    assert together.spikes is None and together.nodes.shape == (10, 16)
    for i, graph in enumerate(graphs):
        bare = graph.clone()
        bare.edge_index, bare.edge_attr = graph.edge_index[:, :0], graph.edge_attr[:0]
        alone = model.encode_graphs(Batch.from_data_list([bare]))
        torch.testing.assert_close(together.nodes[together.batch == i], alone.nodes, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(together.readout[i], alone.readout[0], atol=1e-5, rtol=1e-5)


def test_nodes_see_each_other():
    model = tiny_model(tiny_config(*OVERRIDES)).eval()
    graph = random_graph(4, 0)
    changed = graph.clone()
    changed.x = graph.x.clone()
    changed.x[3] += 1
    a, b = (model.encode_graphs(Batch.from_data_list([g])).nodes for g in (graph, changed))
    assert (a[0] - b[0]).abs().max() > 1e-4


def test_the_whole_objective_is_contrast_of_wholes():
    model = tiny_model(tiny_config(*OVERRIDES))
    losses = Objective(model, model.config.objectives)(pair_batch(model, range(len(CAPTIONS))))
    assert set(losses) == {"loss", "itc"}
    losses["loss"].backward()
    assert all(p.grad is not None for p in model.encoder.parameters())
    assert model.image_head.parts.weight.grad is None, "parts are not compared"
