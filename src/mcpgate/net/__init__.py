"""
What lies under Twisted's interfaces: how the gateway touches sockets and time.

This room knows Twisted's private names so that no other room has to. ``transports`` writes at once and
answers questions about a connection, ``reactor`` dispatches reads on a short way, ``deadlines`` replaces a
timer per stream by one sweep. Without the first two everything works on a stock reactor, only slower.
"""
