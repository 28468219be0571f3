"""Scores of any form of a model, and the gate that they open or close."""
