"""Golden graphs: inputs, exact expected values, and the simulators that are tested.

``cases`` builds the graphs and their inputs, ``exact`` works out what they give in rational arithmetic, ``files``
writes both for simulators in any language, ``simulators`` asks back ends and other frameworks (``peers``).
"""
