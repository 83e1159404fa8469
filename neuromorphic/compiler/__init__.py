"""Compile NIR graphs: fold, pack and quantise them, in numbers only."""
