"""Pretraining losses, a file for each kind (:mod:`gshn.registry`): ``objectives.NAME`` is the weight of one.

A file has ``loss(name, states)``, a scalar of a :class:`gshn.losses.base.PairStates`, over the joined batch of all
processes (:mod:`gshn.distributed`).
"""
