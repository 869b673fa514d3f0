"""The chaos controller: playbooks, plans, faults, the guard, the journal and the engine that runs a game day."""
