"""Canaries: one client in every zone that tries everything all the time, and the alarms over what they see.

``plan`` decides what a canary tries, ``availability`` counts it in windows, ``alarms`` judges the windows, ``board``
puts the two together (all pure); ``driver`` is the process in a zone, ``fleet`` all of them as one.
"""
