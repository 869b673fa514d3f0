"""The engine: plays a plan on a live cluster, phase by phase, and gathers the evidence for the verdict."""
