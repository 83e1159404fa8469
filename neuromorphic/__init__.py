"""From a trained checkpoint to a neuromorphic simulator, with NIR as the contract between the two.

Data flow, which is also the import order of the folders:

checkpoint -> ``export`` (NIR graph) -> ``compiler`` (folded, packed, quantised layers) -> ``execution`` (NumPy oracles)
-> ``lava`` (a run on the Lava simulator) -> spikes. Only ``export`` needs PyTorch and only ``lava`` needs Lava.
"""
