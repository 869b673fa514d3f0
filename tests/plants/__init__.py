"""Planted bugs: each is a module with ``install(node)``, called once before the node starts. In no wheel.

A plant changes objects of the one node it is given, never classes, so that simulated nodes can be planted one by one.
Each widens its own window, so that every run of its playbook catches it.
"""
