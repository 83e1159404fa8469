"""NumPy simulators that other back ends are held to, and spike records."""
