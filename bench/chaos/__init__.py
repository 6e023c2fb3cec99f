"""Chaos: faults on purpose, clients that remember what they saw, and a checker that decides whether the rules held."""
