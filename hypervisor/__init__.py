"""What Slipway knows of hypervisors: one protocol, two drivers, plain Python.

Nothing in here imports Django. `protocol` is the contract, `types` its words, `errors` its failures; the
drivers in `libvirt_driver` and `simulated_driver` keep it, and `connect` opens the right one for a URI.
"""
