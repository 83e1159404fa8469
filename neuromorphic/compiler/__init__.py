"""NIR graphs as folded, packed and quantised layers, in numbers only."""
