"""PartiQL as DynamoDB has it: one statement on one table, parsed by ``parser`` into ``nodes`` and said again by
``clauses`` in the expression language, so that both languages mean the same by construction.
"""
