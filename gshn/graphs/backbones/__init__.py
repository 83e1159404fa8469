"""Visual backbones: RGB images -> feature maps at several strides, to be pooled under segments.

A file for each kind. It says in ``NAMES`` what its backbones are called in ``graph.backbone`` (``NAME``, or
``NAME:ARGUMENT`` where something follows), as a plain tuple, which :mod:`gshn.backbone_names` reads; and it has
``make(name, levels)``, which makes one. Another takes such a file and no more: :mod:`gshn.graphs.backbones.choose`
finds it.
"""
