"""What the gateway tells about its servers, in every form that clients and registries read. No I/O, no Twisted."""
