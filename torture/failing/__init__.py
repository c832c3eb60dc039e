"""A process that dies at a chosen call to its store.

store.py    a store around the real one, which ends its process before or after a call
sites.py    all calls to the store that a worker's source makes, and how they are named
app.py      handlers that lead a worker past each of them
trial.py    one death, and what the next worker makes of it
"""
