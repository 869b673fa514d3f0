"""DynamoDB's expression language: conditions, filters, key conditions, projections and updates.

``tokens`` and ``parser`` turn text into ``nodes``, cached by text (applications use few texts and many values).
``static`` makes the checks that need placeholders but no item, and gives AWS's texts. ``conditions``, ``updates``
and ``projections`` run a clause over an item. Everything is bounded: 4 KB of text, 300 operators, nesting; no input
recurses without limit.
"""
