"""Where the work of a request, an event and a stream goes, exactly: calls, instructions, system calls of each."""
