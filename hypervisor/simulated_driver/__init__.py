"""The simulated driver: hosts, guests and their migrations without libvirt, for speed, scale and rare faults.

It keeps `hypervisor.protocol`; the same contract suite runs against it and against real libvirt. The estate lives in a
file (`store`), is furnished by `estate`, and goes wrong on demand by `faults` and `accidents`.
"""

from hypervisor.simulated_driver.driver import SimulatedHypervisor, open_simulated

__all__ = ["SimulatedHypervisor", "open_simulated"]
