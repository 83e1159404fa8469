"""Data sets, a file for each kind (:mod:`gshn.registry`): ``data.pairs.source`` and its like name one.

A file has ``make(name, settings)``, which opens a split as an :class:`gshn.data.images.ImageCollection`: ``name`` is
the whole text of the configuration, ``coco:DIR`` say, ``settings`` a :class:`gshn.data.images.DatasetSettings`.
"""
