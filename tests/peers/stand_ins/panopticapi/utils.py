"""Colours of ids."""

rgb2id = None
