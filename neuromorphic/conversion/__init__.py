"""What becomes of a graph on a chip: bounds, limits, the conversion report and the table of what is supported."""
