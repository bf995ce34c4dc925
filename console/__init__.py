"""Consoles in the browser: who may open one, the ticket that opens it, and the gateway that carries it.

The gateway is a process of its own, because pages and the API reach no hypervisor.
"""
