"""Compiled layers on Intel's Lava, in a child process."""
