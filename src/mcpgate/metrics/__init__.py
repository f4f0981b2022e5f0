"""What is counted, and how it is told to Prometheus: plain integers where requests pass, text where they are read."""
