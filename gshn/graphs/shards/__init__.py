"""Scene graphs of an image collection on disk: a folder of WebDataset tar shards, each written once.

::

    manifest.json        what shapes the graphs, in words; another collection or setting is refused. ``settings``: keys
                         of the configuration, for runs from these shards
    00000.tar            graphs of the first images: per image <index>.json (index, name, its files' digest, texts) and
                         <index>.safetensors (the attributes of gshn.graphs.scene_graph.SceneGraph, x in float16)
    00000.json           number of graphs, images that could not be used, digests of the tar, the texts and the images'
                         files, and those files' lengths and dates; with the tar, it is whole
    00001.tar.partial    a shard being written; a killed run goes on after its last whole image
    00001.lock           says which process writes it
    index.json           written when all shards are there and their counts agree

Which images a shard holds depends on its number alone, so any number of processes can write: process r of W takes the
shards k with k mod W = r.
"""
