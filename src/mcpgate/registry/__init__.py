"""Who is there besides the servers of the configuration: registrations, leases, where they are kept, lists."""
