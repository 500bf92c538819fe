"""Where weights are while an engine works: on the device, on the host, or on their way.

Weights are only ever read by what computes, so a network has one home on the host, and what lies on the device is a
copy of it that is simply forgotten. Whoever changes weights (LoRAs) does so at home.
"""
