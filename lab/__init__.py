"""A real libvirt estate on one machine: hosts in namespaces, QEMU guests, something to patch.

Standard library only, so that it runs from a fresh clone before anything is installed. It needs
root and the Debian packages that `script/lab` names. Start with `lab.estate.Lab`.
"""
