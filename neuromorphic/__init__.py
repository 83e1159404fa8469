"""From a trained checkpoint, or anybody's NIR file, to a neuromorphic simulator, with NIR as the contract.

Data flow, which is also the order in which to read:

checkpoint -> ``export`` -> NIR graph -> ``graph`` (flat, shaped, checked) -> ``compiler`` (populations, projections,
integers) -> ``execution`` (simulators that all else is held to) -> ``lava`` (runs on Lava) -> ``backends`` (one way to
run on any) -> the commands ``run``, ``verify``, ``check``, ``doctor``. Only ``export`` and one simulator need PyTorch,
only ``lava`` needs Lava.
"""
