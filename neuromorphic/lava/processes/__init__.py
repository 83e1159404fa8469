"""Our own Lava processes and their models; as Lava wants it, a folder with nothing else in it."""
