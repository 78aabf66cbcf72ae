"""What keeps a mesh on its feet when parts of it fail: retries, budgets, limits, breakers, and who is asked next.

What is remembered is a ``State``, or lies in memory that is handed in, so that all workers of a proxy can share it.
"""
