"""Torch's door for publishing: a live model becomes a folder that loads elsewhere, and a folder becomes a model again.

Nothing here imports MLflow, so that the fresh process which proves a model starts fast.
"""
