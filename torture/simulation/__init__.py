"""The simulation: the real lifecycle, memory store, sweep and verbs, under workers, clients and faults of one seed.

plan        what a seed stands for
wire        the store as a process sees it
world       the clock, the network, the faults
callers, workers, slices    who acts
invariants  what must hold after every call
schedule    one seed from plan to verdict
shrinking, campaign         many seeds, and a small one that fails
"""

from torture.simulation.campaign import replay, run

__all__ = ["replay", "run"]
