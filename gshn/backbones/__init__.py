"""Visual backbones: RGB images -> feature maps at several strides, to be pooled under segments.

A file for each kind (:mod:`gshn.registry`): ``graph.backbone`` names one, or several with ``+`` between them
(:mod:`gshn.backbone_names`). A file has ``make(name, levels)``, which makes one: ``name`` is NAME or NAME:WHAT, as the
configuration has it, ``levels`` is ``graph.levels``.
"""
