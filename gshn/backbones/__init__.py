"""Visual backbones: RGB images -> feature maps at several strides, which are pooled under segments.

There is one file for each kind (:mod:`gshn.registry`). ``graph.backbone`` names one, or several joined by ``+``
(:mod:`gshn.backbone_names`). A file has ``make(name, levels)``, which makes a backbone: ``name`` is NAME or NAME:WHAT,
as in the configuration, and ``levels`` is ``graph.levels``.
"""
