"""Segmenters, a file for each kind (:mod:`gshn.registry`): ``data.pairs.segmenter`` and its like name one.

A file has ``make(name, settings)``, which makes one: ``name`` is the whole text of the configuration, ``settings`` a
:class:`gshn.segments.panoptic.SegmenterSettings`.
"""
