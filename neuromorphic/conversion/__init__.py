"""What becomes of a graph on a chip: what chips hold, bounds, errors of fixed point, and the conversion report."""
