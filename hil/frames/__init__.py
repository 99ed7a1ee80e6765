"""Evidence: every frame that went over a wire, in a journal that can be read, exported to pcap, and replayed."""
