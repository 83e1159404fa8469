"""Anybody's NIR file on a neuromorphic simulator, with NIR as the contract.

Data flow, which is also the order in which to read:

NIR graph -> ``graph`` (flat, shaped, checked) -> ``compiler`` (populations, projections, integers) -> ``execution``
(simulators that all else is held to) -> ``lava`` (runs on Lava) -> ``backends`` (one way to run on any) -> the commands
``run``, ``verify``, ``check``, ``export``, ``profile``, ``doctor``. Only one simulator needs PyTorch, only ``lava``
needs Lava. Nothing here knows of checkpoints: a package that does registers with ``plugins``.
"""
