"""Uncertainty for LLM applications: Inv-Entropy over perturbed siblings of the question (arXiv 2506.09684)."""
