"""Segmenters, one file for each kind (:mod:`gshn.registry`). Keys such as ``data.pairs.segmenter`` name one.

A file has ``make(name, settings)``, which makes one: ``name`` is the whole text of the configuration, ``settings`` a
:class:`gshn.segments.panoptic.SegmenterSettings`.
"""
