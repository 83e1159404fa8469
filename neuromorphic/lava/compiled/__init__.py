"""Graphs as Lava processes; as Lava wants it, a folder with nothing else in it."""
