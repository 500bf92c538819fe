"""Several devices that compute one job together, in lockstep.

Every device has a process with all networks and computes the same job from the same seed. What they share out is the
transformer's work: the passes of guidance (``guidance.py``), or the tokens of each pass (``context.py``). Texts,
pictures and noise are computed by each, which is cheaper than to send them; the first decodes.
"""
