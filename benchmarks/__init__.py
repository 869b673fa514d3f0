"""Speed as ratios: our cluster beside its peers in one run, with the CPU that each hop used.

Nothing here gates anything: missed targets are printed.
"""
