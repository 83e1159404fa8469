"""Golden graphs: what a simulator of NIR graphs has to give, worked out exactly, and simulators that are asked.

``cases`` builds the graphs and their inputs, ``exact`` works out what they give in rational arithmetic, ``files``
writes both for simulators in any language, ``simulators`` asks back ends and other frameworks (``peers``).
"""
